"""Whose request it is: the headers of the sidecar's connection, and the names and secrets made from them.

The headers are described in ``docs/reference/headers.md``. The body is never trusted for any of this.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import SecretStr

from hub.manifest import NAME_PATTERN, SETTING_PATTERN
from sidecar.errors import InvalidRequest, Unauthorized
from sidecar.fields import shown
from sidecar.headers import MAX_B64_CHARS, decode_json, printable
from sidecar.meta import META_HEADER
from sidecar.settings import ProviderName

MAX_ID_CHARS: Final = 256
MAX_KEY_CHARS: Final = 1024
MAX_SETTING_CHARS: Final = 4096

UNKEPT_CHATS: Final = ("temporary:", "local:", "channel:")
"""How the ids of temporary chats begin (``local:`` before 0.12), and those of channels, which many share."""

USER_HEADER: Final = "x-openwebui-user-id"
SETTINGS_HEADER: Final = "x-openpersona-integrations-b64"
KEY_HEADERS: Final[Mapping[ProviderName, str]] = {
    "openai": "x-openpersona-openai-api-key",
    "anthropic": "x-openpersona-anthropic-api-key",
    "openrouter": "x-openpersona-openrouter-api-key",
    "compatible": "x-openpersona-compatible-api-key",
}
_OURS: Final = ("x-openwebui-", "x-openpersona-")


@dataclass(frozen=True)
class Identity:
    """One request's identity. Ids that were not sent are empty; ``keys`` holds only the providers that have one."""

    user_id: str
    chat_id: str = ""
    message_id: str = ""
    user_message_id: str = ""
    parent_message_id: str = ""
    task: str = ""
    original_model_id: str = ""
    meta_header: str = field(default="", repr=False)
    keys: Mapping[ProviderName, SecretStr] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, SecretStr]] = field(default_factory=dict)

    @property
    def has_memory_id(self) -> bool:
        """Whether the chat is a user's own that Open WebUI keeps; of the other kinds anyone can name one."""
        return bool(self.chat_id) and not self.chat_id.startswith(UNKEPT_CHATS)


def parse_identity(headers: Mapping[str, str]) -> Identity:
    """The identity that ``headers`` carry; names in any case.

    Raises ``InvalidRequest``, whose ``param`` is the header: no user id, a header sent twice, a value that is too
    long or not printable ASCII, settings that are not ``{integration: {setting: text}}``.
    """
    ours = _only_ours(headers)

    def ident(name: str) -> str:
        return printable(ours.get(name, ""), name, limit=MAX_ID_CHARS)

    user_id = ident(USER_HEADER)
    if not user_id:
        raise InvalidRequest(f"Header {USER_HEADER} is missing: every request names its user.", param=USER_HEADER)
    return Identity(
        user_id=user_id,
        chat_id=ident("x-openwebui-chat-id"),
        message_id=ident("x-openwebui-message-id"),
        user_message_id=ident("x-openwebui-user-message-id"),
        parent_message_id=ident("x-openwebui-user-message-parent-id"),
        task=ident("x-openwebui-task"),
        original_model_id=ident("x-openpersona-original-model-id"),
        meta_header=printable(ours.get(META_HEADER, ""), META_HEADER, limit=MAX_B64_CHARS),
        keys=_keys(ours),
        settings=_settings(ours.get(SETTINGS_HEADER, "")),
    )


def check_api_key(authorization: str | None, expected: SecretStr) -> None:
    """Raises ``Unauthorized`` unless ``authorization`` is ``Bearer <expected>``; compares in constant time."""
    scheme, _, given = (authorization or "").partition(" ")
    key = expected.get_secret_value()
    same = hmac.compare_digest(_bytes(given.strip()), _bytes(key))
    if scheme.lower() != "bearer" or not key or not same:
        raise Unauthorized("The sidecar's API key is missing or wrong. Set it in the connection's settings.")


def workspace_hash(user_id: str) -> str:
    """The user's name in paths and labels: 16 hex digits."""
    return hashlib.sha256(_bytes(user_id)).hexdigest()[:16]


def key_sig(token_key: SecretStr, keys: Mapping[ProviderName, SecretStr]) -> str:
    """The name of a key set: 8 hex digits that say nothing of the keys without ``token_key``."""
    plain = {name: key.get_secret_value() for name, key in keys.items()}
    return _mac(token_key, json.dumps(plain, sort_keys=True, separators=(",", ":")))[:8]


def runner_name(workspace: str, keysig: str) -> str:
    return f"open-persona-runner-{workspace}-{keysig}"


def runner_token(token_key: SecretStr, name: str) -> SecretStr:
    """What the runner ``name`` shows at the two doors."""
    return SecretStr(_mac(token_key, f"runner-token:{name}"))


def runner_password(token_key: SecretStr, name: str) -> SecretStr:
    """What the sidecar shows to the runner ``name``; no token tells it."""
    return SecretStr(_mac(token_key, f"runner-password:{name}"))


def instance_id(token_key: SecretStr) -> str:
    """The name of this deployment in labels: 12 hex digits, the same as long as its token key is."""
    return _mac(token_key, "instance")[:12]


def _mac(token_key: SecretStr, message: str) -> str:
    return hmac.new(_bytes(token_key.get_secret_value()), _bytes(message), hashlib.sha256).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _only_ours(headers: Mapping[str, str]) -> dict[str, str]:
    ours: dict[str, str] = {}
    for raw_name, value in headers.items():
        name = raw_name.lower()
        if not name.startswith(_OURS):
            continue
        # Sender and receiver could each read another one of two.
        if name in ours:
            raise InvalidRequest(f"Header {name} was sent twice.", param=name)
        ours[name] = value
    return ours


def _keys(headers: Mapping[str, str]) -> dict[ProviderName, SecretStr]:
    found = {
        provider: SecretStr(printable(headers.get(name, ""), name, limit=MAX_KEY_CHARS))
        for provider, name in KEY_HEADERS.items()
    }
    return {provider: key for provider, key in found.items() if key.get_secret_value()}


def _settings(header: str) -> dict[str, dict[str, SecretStr]]:
    if not header:
        return {}
    raw = decode_json(header, SETTINGS_HEADER)
    if not isinstance(raw, dict):
        raise _bad_settings("", "must be a JSON object")
    return {name: _settings_of(name, values) for name, values in raw.items()}


def _settings_of(integration: str, values: object) -> dict[str, SecretStr]:
    if not re.fullmatch(NAME_PATTERN, integration):
        raise _bad_settings(shown(integration), "is not the name of an integration")
    if not isinstance(values, dict):
        raise _bad_settings(integration, "must be an object of settings")
    return {
        key: SecretStr(text.strip())
        for key, value in values.items()
        if (text := _setting(f"{integration}.{key}" if re.fullmatch(SETTING_PATTERN, key) else "", value)).strip()
    }


def _setting(path: str, value: object) -> str:
    if not path:
        raise _bad_settings("", "names a setting that is not in lower case letters, digits and '_'")
    if not isinstance(value, str) or len(value) > MAX_SETTING_CHARS:
        raise _bad_settings(path, f"must be a text of at most {MAX_SETTING_CHARS} characters")
    # The gateway sends it on as a header.
    if not (value.isascii() and value.isprintable()):
        raise _bad_settings(path, "holds a character that is not printable ASCII")
    return value


def _bad_settings(path: str, fault: str) -> InvalidRequest:
    where = f" at {path}" if path else ""
    return InvalidRequest(f"Header {SETTINGS_HEADER}{where} {fault}.", param=SETTINGS_HEADER)
