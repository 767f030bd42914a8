"""``open-persona config show``: the opencode config that a turn of a persona would get, as the sidecar builds it."""

from __future__ import annotations

from pydantic import JsonValue

from open_persona.conversation import Conversation
from open_persona.sidecar_api import SidecarApi

SECRET_NAMES = ("key", "token", "password", "secret", "authorization")
MASK = "********"
REFERENCE = "{env:"
"""A value that names a variable of the runner's, and holds nothing itself."""


async def config_of(sidecar: SidecarApi, conversation: Conversation) -> JsonValue:
    """The config with every value masked that could be a secret.

    Raises ``ServiceUnreachable`` with the sidecar's own words when such a turn would be refused.
    """
    return masked(await sidecar.config(conversation.ask("config")))


def masked(document: JsonValue, *, secret: bool = False) -> JsonValue:
    """The document with texts under a telling name replaced, but for references to a variable."""
    if isinstance(document, dict):
        return {name: masked(value, secret=secret or _tells(name)) for name, value in document.items()}
    if isinstance(document, list):
        return [masked(value, secret=secret) for value in document]
    if secret and isinstance(document, str) and document and REFERENCE not in document:
        return MASK
    return document


def _tells(name: str) -> bool:
    return any(word in name.lower() for word in SECRET_NAMES)
