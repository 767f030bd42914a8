"""Settings of the caller: headers, the single-user environment, and never a mix of both."""

from __future__ import annotations

import pytest

from mcp_servers.kit.credentials import CallerSettings, caller_settings
from mcp_servers.kit.errors import MissingCredentials
from mcp_servers.kit.integration import Integration, Setting, Transport

DEMO = Integration(
    name="demo",
    title="Demo service",
    transport=Transport(type="python", port=7999),
    settings=(
        Setting(key="api_key_id", title="API key ID", required=True),
        Setting(key="api_private_key", title="API private key", secret=True, required=True),
    ),
)
HEADERS = {"X-Open-Persona-Setting-Api-Key-Id": "id-1", "x-open-persona-setting-api-private-key": "private-1"}
ENVIRON = {"OPEN_PERSONA_DEMO_API_KEY_ID": "env-id", "OPEN_PERSONA_DEMO_API_PRIVATE_KEY": "env-private"}


def both(settings: CallerSettings) -> tuple[str, ...]:
    return tuple(value.get_secret_value() for value in settings.require("api_key_id", "api_private_key"))


@pytest.mark.requirement("mcp-kit:caller-settings")
def test_headers_win_and_names_are_case_insensitive() -> None:
    assert both(caller_settings(HEADERS, DEMO, ENVIRON)) == ("id-1", "private-1")


@pytest.mark.requirement("mcp-kit:caller-settings")
def test_the_environment_serves_a_request_without_any_setting_header() -> None:
    assert both(caller_settings({"accept": "x"}, DEMO, ENVIRON)) == ("env-id", "env-private")


@pytest.mark.requirement("mcp-kit:no-mixed-credentials")
@pytest.mark.parametrize("value", ["id-1", "", " "])
def test_one_setting_header_switches_the_environment_off(value: str) -> None:
    settings = caller_settings({"x-open-persona-setting-api-key-id": value}, DEMO, ENVIRON)
    assert settings.get("api_private_key") is None
    with pytest.raises(MissingCredentials):
        settings.require("api_key_id", "api_private_key")


def test_a_missing_setting_is_named_by_its_title_and_place() -> None:
    with pytest.raises(MissingCredentials) as caught:
        caller_settings({}, DEMO, {}).require("api_key_id", "api_private_key")
    assert caught.value.message == "“API key ID” and “API private key” are not set."
    assert "“Open Persona: Demo service”" in caught.value.what_to_do
    with pytest.raises(MissingCredentials, match="“API private key” is not set"):
        caller_settings({"x-open-persona-setting-api-key-id": "a"}, DEMO, {}).require("api_key_id", "api_private_key")


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\tb", "a\x00", "schlüssel", "a" * 5000])
def test_a_value_that_could_not_be_a_key_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(MissingCredentials) as caught:
        caller_settings({"x-open-persona-setting-api-key-id": value}, DEMO, {})
    assert value not in caught.value.text()
    assert "API key ID" in caught.value.text()


def test_no_value_shows_in_a_repr() -> None:
    assert "private-1" not in repr(caller_settings(HEADERS, DEMO, {}))
