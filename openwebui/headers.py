"""The headers that go to the sidecar's connection (DESIGN §5.1): their names, their limits, and their encoding. Pure.

Every value is printable ASCII. An id or a key that is not is left out; a persona's settings that do not fit are a
refusal, because a request without them would have other rights.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from pydantic import SecretStr

from .request_errors import ModelAtFaultError, TooLargeError
from .settings import PROVIDERS

USER = "x-openwebui-user-id"
IDS = (
    "x-openwebui-chat-id",
    "x-openwebui-message-id",
    "x-openwebui-user-message-id",
    "x-openwebui-user-message-parent-id",
    "x-openwebui-task",
)
"""Filled in by the connection's own custom headers, which Open WebUI expands."""

MODEL = "x-openpersona-original-model-id"
META = "x-openpersona-meta-b64"
SETTINGS = "x-openpersona-integrations-b64"
OURS = ("x-openwebui-", "x-openpersona-")

MAX_ID_CHARS = 256
MAX_KEY_CHARS = 1024
MAX_SETTING_CHARS = 4096
MAX_B64_CHARS = 32 * 1024


def key_header(provider: str) -> str:
    return f"x-openpersona-{provider}-api-key"


def is_sidecar(url: str, base_urls: Iterable[str]) -> bool:
    """Whether a connection's base URL is one of the sidecar's: the same scheme, host, port and path."""
    wanted = _place(url)
    return wanted is not None and any(_place(one) == wanted for one in base_urls)


def without_ours(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that are none of this contract's."""
    return {name: value for name, value in headers.items() if not name.lower().startswith(OURS)}


def ids_in(headers: Mapping[str, str]) -> dict[str, str]:
    """The ids of a request, as the connection's custom headers gave them; one that can't be sent is empty."""
    given = {name.lower(): value for name, value in headers.items()}
    return {name: printable(given.get(name, ""), MAX_ID_CHARS) for name in IDS}


def persona_headers(
    model_id: str,
    persona: Mapping[str, object] | None,
    keys: Mapping[str, SecretStr],
    settings: Mapping[str, Mapping[str, SecretStr]],
) -> dict[str, str]:
    """What says who answers, with whose keys and settings. ``persona`` None: no Model is stored under that id.

    Raises:
        ModelAtFaultError, TooLargeError.
    """
    if model_id and printable(model_id, MAX_ID_CHARS) != model_id:
        raise ModelAtFaultError(
            "The id of this Model holds characters that can't be sent, and an id can't be changed. Ask an admin to "
            "clone the Model and give the copy an id of plain letters and digits."
        )
    headers = {MODEL: model_id}
    if persona is not None:
        headers[META] = _encoded(
            persona,
            "The settings of this Model (open_persona)",
            "Ask an admin to shorten its custom parameter or meta.",
        )
    if shown := {name: _shown(values) for name, values in settings.items()}:
        headers[SETTINGS] = _encoded(
            {name: values for name, values in shown.items() if values},
            "Your settings of the integrations",
            "Shorten them: Integrations > Tools > the sliders icon (Valves) next to each.",
        )
    for provider in PROVIDERS:
        if provider in keys and (key := printable(keys[provider].get_secret_value(), MAX_KEY_CHARS)):
            headers[key_header(provider)] = key
    return headers


def printable(value: str, limit: int) -> str:
    """``value`` without blanks at its ends; empty where it is too long or not printable ASCII."""
    value = value.strip()
    return value if len(value) <= limit and value.isascii() and value.isprintable() else ""


def _shown(values: Mapping[str, SecretStr]) -> dict[str, str]:
    plain = {key: printable(value.get_secret_value(), MAX_SETTING_CHARS) for key, value in values.items()}
    return {key: value for key, value in plain.items() if value}


def _encoded(value: Mapping[str, object], what: str, mend: str) -> str:
    text = base64.b64encode(json.dumps(value).encode()).decode()
    if len(text) > MAX_B64_CHARS:
        raise TooLargeError(f"{what} have {len(text)} characters in a header; {MAX_B64_CHARS} are carried. {mend}")
    return text


def _place(url: str) -> tuple[str, str, int, str] | None:
    try:
        parts = urlsplit(url.strip())
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None
    return parts.scheme.lower(), (parts.hostname or "").lower(), port, parts.path.rstrip("/")
