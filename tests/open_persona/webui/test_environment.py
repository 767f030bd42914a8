"""What Open WebUI is told: the facts' settings, the user's own over them, the contract's above all."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from mcp_servers.launcher import Spec
from open_persona.services import Service, plan
from open_persona.settings import StackSettings
from open_persona.toolchain import Toolchain
from open_persona.webui.environment import DEFAULTS, WebuiStart

TOOLS = Toolchain(Path("/t/opencode"), Path("/t/rg"))
SPECS = [Spec("grants_gov", Path("/m/grants_gov"), 7002, (0, 0))]
START = WebuiStart(Path("/v/bin/open-webui"), SecretStr("secret-key"), SecretStr("sidecar-key"))


def open_webui(environment: dict[str, str] | None = None, **given: object) -> Service:
    settings = StackSettings.model_validate({"home": "/h", **given})
    services = plan(settings, TOOLS, SPECS, environment or {}, webui=START)
    return next(service for service in services if service.name == "Open WebUI")


def test_it_is_a_service_with_a_long_first_start() -> None:
    service = open_webui(webui_host="0.0.0.0", webui_port=3100)
    assert service.command == ("/v/bin/open-webui", "serve", "--host", "0.0.0.0", "--port", "3100")
    [listener] = service.listeners
    assert (listener.ready, listener.ready_s) == ("http://127.0.0.1:3100/health", 240)
    assert listener.setting == "OPEN_PERSONA_WEBUI_PORT"


def test_without_being_asked_for_it_is_not_planned() -> None:
    services = plan(StackSettings(home=Path("/h")), TOOLS, SPECS, {})
    assert "Open WebUI" not in [service.name for service in services]


@pytest.mark.requirement("webui:environment")
def test_it_finds_the_sidecar_and_the_hub_where_they_are() -> None:
    told = open_webui(sidecar_port=8123, hub_port=7123).environment
    assert told["OPEN_PERSONA_SIDECAR_BASE_URLS"] == "http://127.0.0.1:8123/v1,http://localhost:8123/v1"
    assert told["OPEN_PERSONA_SIDECAR_API_KEY"] == "sidecar-key"
    assert told["OPEN_PERSONA_HUB_URL"] == "http://127.0.0.1:7123"
    assert told["DATA_DIR"] == "/h/webui"
    assert told["WEBUI_SECRET_KEY"] == "secret-key"


@pytest.mark.requirement("webui:environment")
def test_no_provider_but_the_sidecar_is_connected_and_no_file_is_embedded_unless_the_user_says_so() -> None:
    told = open_webui({"OPENAI_API_KEY": "sk-of-the-shell"}, sidecar_port=8123).environment
    assert told["OPENAI_API_BASE_URLS"] == "http://127.0.0.1:8123/v1"
    assert told["BYPASS_EMBEDDING_AND_RETRIEVAL"] == "True"
    own = {"OPENAI_API_BASE_URLS": "https://llm.example.org/v1", "BYPASS_EMBEDDING_AND_RETRIEVAL": "False"}
    assert own.items() <= open_webui(own).environment.items()


@pytest.mark.requirement("webui:environment")
def test_the_users_own_variables_win_over_defaults_and_not_over_what_must_be_so() -> None:
    users = {
        "WEBUI_ADMIN_EMAIL": "admin@example.org",
        "OFFLINE_MODE": "False",
        "AIOHTTP_CLIENT_TIMEOUT": "600",
        "CORS_ALLOW_ORIGIN": "https://chat.example.org",
        "DATA_DIR": "/elsewhere",
        "OPEN_PERSONA_HUB_URL": "http://hub:7000",
    }
    told = open_webui(users, hub_url="http://hub:7000").environment
    for name in ("WEBUI_ADMIN_EMAIL", "OFFLINE_MODE", "AIOHTTP_CLIENT_TIMEOUT", "CORS_ALLOW_ORIGIN"):
        assert told[name] == users[name]
    assert told["DATA_DIR"] == "/h/webui"
    assert told["OPEN_PERSONA_HUB_URL"] == "http://hub:7000"
    assert DEFAULTS.items() - told.items() == {("OFFLINE_MODE", "True"), ("AIOHTTP_CLIENT_TIMEOUT", "")}


@pytest.mark.requirement("webui:environment")
def test_no_key_but_the_sidecars_and_the_default_ones_is_in_it() -> None:
    users = {
        "OPEN_PERSONA_SERVICE_KEY": "canary-service",
        "OPEN_PERSONA_TOKEN_KEY": "canary-token",
        "OPEN_PERSONA_INSTRUMENTL_API_KEY_ID": "canary-setting",
        "OPEN_PERSONA_TORCH_INDEX": "canary-index",
        "OPEN_PERSONA_DEFAULT_OPENAI_API_KEY": "sk-default",
        "PYTHONPATH": "/mine",
    }
    told = open_webui(users).environment
    assert not [value for value in told.values() if "canary" in value]
    assert told["OPEN_PERSONA_DEFAULT_OPENAI_API_KEY"] == "sk-default"
    assert "PYTHONPATH" not in told
    ours = {name for name in told if name.startswith("OPEN_PERSONA_")}
    assert ours == {
        "OPEN_PERSONA_DEFAULT_OPENAI_API_KEY",
        "OPEN_PERSONA_HUB_URL",
        "OPEN_PERSONA_SIDECAR_API_KEY",
        "OPEN_PERSONA_SIDECAR_BASE_URLS",
        "OPEN_PERSONA_SIDECAR_PORT",
    }


def test_a_browser_may_come_by_its_own_addresses_alone() -> None:
    assert open_webui().environment["CORS_ALLOW_ORIGIN"] == "http://127.0.0.1:3000;http://localhost:3000"
    public = open_webui(webui_host="0.0.0.0", webui_url="https://chat.example.org/").environment
    assert public["CORS_ALLOW_ORIGIN"].split(";")[0] == "https://chat.example.org"


def test_the_doctor_looks_where_it_is_started_unless_told_otherwise() -> None:
    assert StackSettings(home=Path("/h"), webui_port=3100).webui == "http://127.0.0.1:3100"
    assert StackSettings(home=Path("/h"), webui_url="https://chat.example.org/").webui == "https://chat.example.org"
