"""The two tools for provider keys: their fields are called what the sidecar's errors call them."""

from __future__ import annotations

from openwebui.provider_tools import KEY_FIELDS, USER_KEYS, provider_tools
from sidecar.providers import KEYS_TOOL, PROVIDERS


def test_an_error_names_the_tool_and_the_field_as_they_stand_in_the_ui() -> None:
    own = next(tool for tool in provider_tools() if tool.id == USER_KEYS)
    assert own.name == KEYS_TOOL
    for provider in KEY_FIELDS:
        assert repr(PROVIDERS[provider].key_field)[1:-1] in own.content  # type: ignore[index]
