"""The settings of the caller of one request: headers first, the environment for a single user.

The gateway sends a user's settings as ``x-open-persona-setting-<key>`` (``_`` as ``-``). Only a request without
any such header is served from ``OPEN_PERSONA_<NAME>_<KEY>``: otherwise a user who left a field empty would work
with somebody else's key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mcp.server.mcpserver import Context
from pydantic import SecretStr
from starlette.requests import Request

from mcp_servers.kit.errors import MissingCredentials
from mcp_servers.kit.integration import Integration, Setting

HEADER_PREFIX = "x-open-persona-setting-"
MAX_VALUE_CHARS = 4096

_PRINTABLE_ASCII = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True)
class CallerSettings:
    """What one caller has set, by key. Every value is a secret here: a key id also belongs to a person."""

    integration: Integration
    values: Mapping[str, SecretStr] = field(default_factory=dict)

    @staticmethod
    def of(ctx: Context, integration: Integration, environ: Mapping[str, str] | None = None) -> CallerSettings:
        """The settings of the request that ``ctx`` belongs to. Raises MissingCredentials for an unusable value."""
        request: object = ctx.request_context.request
        headers = request.headers if isinstance(request, Request) else {}
        return caller_settings(headers, integration, os.environ if environ is None else environ)

    def get(self, key: str) -> SecretStr | None:
        return self.values.get(key)

    def require(self, *keys: str) -> tuple[SecretStr, ...]:
        """The values of ``keys``, in order. Raises MissingCredentials naming each empty field by its title."""
        missing = [key for key in keys if key not in self.values]
        if missing:
            titles = _listed([f"“{_titled(self.integration, key)}”" for key in missing])
            verb = "is" if len(missing) == 1 else "are"
            raise MissingCredentials(f"{titles} {verb} not set.", what_to_do=_where_to_set(self.integration, titles))
        return tuple(self.values[key] for key in keys)


def caller_settings(headers: Mapping[str, str], integration: Integration, environ: Mapping[str, str]) -> CallerSettings:
    """Settings from ``headers`` (names in any case), else, if they hold no setting at all, from ``environ``."""
    lower = {name.lower(): value for name, value in headers.items()}
    sent = {name: value for name, value in lower.items() if name.startswith(HEADER_PREFIX)}
    values: dict[str, SecretStr] = {}
    for setting in integration.settings:
        if sent:
            raw = sent.get(HEADER_PREFIX + setting.key.replace("_", "-"), "")
        else:
            raw = environ.get(f"OPEN_PERSONA_{integration.name}_{setting.key}".upper(), "")
        if raw.strip(" "):
            values[setting.key] = _checked(raw.strip(" "), setting, integration)
    return CallerSettings(integration, values)


def _checked(raw: str, setting: Setting, integration: Integration) -> SecretStr:
    if len(raw) > MAX_VALUE_CHARS or not _PRINTABLE_ASCII.fullmatch(raw):
        title = f"“{setting.title}”"
        raise MissingCredentials(
            f"{title} holds characters that no key has: line breaks, control characters or letters beyond ASCII.",
            what_to_do=f"Copy the value again. {_where_to_set(integration, title)}",
        )
    return SecretStr(raw)


def _titled(integration: Integration, key: str) -> str:
    return next((setting.title for setting in integration.settings if setting.key == key), key)


def _where_to_set(integration: Integration, titles: str) -> str:
    return f"In Open WebUI, open the settings of the tool “Open Persona: {integration.title}” and fill in {titles}."


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
