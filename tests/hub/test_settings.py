"""Settings from the environment and secrets.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hub.errors import SettingsError
from hub.settings import default_home, is_loopback, load_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HUB_HOST", "HUB_PORT", "HUB_DISABLED", "HUB_ALLOWED_HOSTS", "MCP_HOST", "SERVICE_KEY"):
        monkeypatch.delenv(f"OPEN_PERSONA_{name}", raising=False)
    monkeypatch.setenv("OPEN_PERSONA_HOME", str(tmp_path))


def test_the_defaults_are_loopback_and_the_folder_beside_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPEN_PERSONA_MCP_SERVERS_DIR", raising=False)
    monkeypatch.setenv("OPEN_PERSONA_SERVICE_KEY", "sesame")
    settings = load_settings()
    assert (settings.hub_host, settings.hub_port, settings.mcp_host) == ("127.0.0.1", 7000, "127.0.0.1")
    assert (settings.mcp_servers_dir.name, settings.loopback_only) == ("mcp_servers", True)
    assert "sesame" not in repr(settings)


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPEN_PERSONA_SERVICE_KEY", "k")
    monkeypatch.setenv("OPEN_PERSONA_HUB_DISABLED", "web, slack,")
    assert load_settings().hub_disabled == {"web", "slack"}


def test_the_key_comes_from_the_environment_first_then_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secrets.json").write_text(json.dumps({"service_key": "from-file"}))
    assert load_settings().service_key.get_secret_value() == "from-file"
    monkeypatch.setenv("OPEN_PERSONA_SERVICE_KEY", "from-env")
    assert load_settings().service_key.get_secret_value() == "from-env"


@pytest.mark.parametrize("content", [None, "{}", "[]", "{broken", "[" * 100_000, '{"service_key": 7}'])
def test_without_a_key_it_stops_and_says_so(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "secrets.json").write_text(content)
    with pytest.raises(SettingsError, match=r"secrets\.json"):
        load_settings()


def test_a_malformed_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPEN_PERSONA_HUB_PORT", "seven")
    with pytest.raises(SettingsError, match="OPEN_PERSONA_HUB_PORT"):
        load_settings()


def test_what_is_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "hub", "")] == [False] * 5


def test_the_state_folder_respects_xdg() -> None:
    assert default_home({"XDG_DATA_HOME": "/x"}) == Path("/x/open-persona")
    assert default_home({}).parts[-3:] == (".local", "share", "open-persona")
