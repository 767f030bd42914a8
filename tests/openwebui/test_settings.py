"""What is read from Open WebUI's environment."""

from __future__ import annotations

import pytest

from openwebui.settings import Settings


@pytest.mark.requirement("webui:settings")
def test_without_any_variable_the_local_addresses_count() -> None:
    settings = Settings.from_environment({})
    assert settings.sidecar_base_urls == (
        "http://127.0.0.1:8000/v1",
        "http://localhost:8000/v1",
        "http://open-persona-sidecar:8000/v1",
    )
    assert settings.hub_url == "http://127.0.0.1:7000"
    assert settings.default_keys == {}


@pytest.mark.requirement("webui:settings")
def test_what_is_set_counts_and_what_is_empty_does_not() -> None:
    settings = Settings.from_environment(
        {
            "OPEN_PERSONA_SIDECAR_BASE_URLS": " http://a:1/v1/ , ,http://b:2/v1",
            "OPEN_PERSONA_SIDECAR_API_KEY": " k \n",
            "OPEN_PERSONA_HUB_URL": "http://hub:7000/",
            "OPEN_PERSONA_DEFAULT_OPENAI_API_KEY": "sk-secret",
            "OPEN_PERSONA_DEFAULT_ANTHROPIC_API_KEY": " ",
        }
    )
    assert settings.sidecar_base_urls == ("http://a:1/v1", "http://b:2/v1")
    assert settings.sidecar_api_key.get_secret_value() == "k"
    assert settings.hub_url == "http://hub:7000"
    assert list(settings.default_keys) == ["openai"]
    assert "sk-secret" not in repr(settings)


@pytest.mark.requirement("webui:settings")
def test_the_port_moves_the_default_addresses() -> None:
    assert Settings.from_environment({"OPEN_PERSONA_SIDECAR_PORT": "18000"}).sidecar_base_urls[0].endswith(":18000/v1")
