"""The two tools that hold the keys of the model providers: each user's own, and the defaults for all."""

from __future__ import annotations

from .settings import PROVIDERS
from .tool_source import SettingField, tool_source
from .wanted import GroupGrant, PublicRead, WantedTool

USER_KEYS = "open_persona_provider_keys"
DEFAULT_KEYS = "open_persona_provider_defaults"
ADMINS_GROUP = "open_persona_admins"
KEY_FIELDS = {provider: f"{provider}_api_key" for provider in PROVIDERS}
"""The field that holds a provider's key, the same in both tools."""

_TITLES = {
    "openai": "OpenAI API key",
    "anthropic": "Anthropic API key",
    "openrouter": "OpenRouter API key",
    "compatible": "API key of this organisation's own endpoint",
}
_PLACES = {
    "openai": "Make one at https://platform.openai.com/api-keys",
    "anthropic": "Make one at https://console.anthropic.com/settings/keys",
    "openrouter": "Make one at https://openrouter.ai/settings/keys",
    "compatible": "Ask the admin whether there is such an endpoint.",
}


def _fields(empty_means: str) -> tuple[SettingField, ...]:
    return tuple(
        SettingField(KEY_FIELDS[provider], _TITLES[provider], f"{empty_means} {_PLACES[provider]}", secret=True)
        for provider in PROVIDERS
    )


def provider_tools() -> tuple[WantedTool, ...]:
    """Both tools, as they are first seeded."""
    own, for_all = _fields("Left empty, the admin's default key counts."), _fields("For all users who have none.")
    return (
        WantedTool(
            id=USER_KEYS,
            name="Open Persona: my keys",
            description="Your own keys for the model providers. They are used for your chats with personas only.",
            content=tool_source("UserValves", own),
            has_user_valves=True,
            access=PublicRead(),
        ),
        WantedTool(
            id=DEFAULT_KEYS,
            name="Open Persona: default keys",
            description=f"Keys for users who have none of their own. Admins and the group {ADMINS_GROUP} set them.",
            content=tool_source("Valves", for_all),
            has_user_valves=False,
            access=GroupGrant(ADMINS_GROUP),
        ),
    )
