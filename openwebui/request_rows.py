"""What one request needs of Open WebUI's tables, in as few reads as possible: each costs about a millisecond.

Its accessors were functions that answer at once and are coroutines now, so each answer goes through :func:`_got`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import SecretStr

from .field_names import key_of
from .integration_tools import PREFIX as TOOL_PREFIX
from .old_chats import Version, versions_of
from .provider_tools import DEFAULT_KEYS, KEY_FIELDS, USER_KEYS
from .status_line import GONE, line_of
from .toggles import integrations_in

_T = TypeVar("_T")


async def _got(answer: Awaitable[_T] | _T) -> _T:
    return await answer if inspect.isawaitable(answer) else answer


@dataclass(frozen=True)
class StoredModel:
    """A Model as it is stored. ``ticked`` are the integrations whose tools an admin ticked."""

    id: str
    name: str
    meta: Mapping[str, object]
    params: Mapping[str, object] = field(repr=False)
    ticked: frozenset[str]


@dataclass(frozen=True)
class UserValves:
    """What a user has entered in the settings of tools, decrypted when asked for."""

    _held: Mapping[str, object] = field(repr=False)

    def of(self, tool_id: str) -> dict[str, SecretStr]:
        """Setting to value, the empty ones left out."""
        from open_webui.utils.valves import decrypt_valves

        values = decrypt_valves(self._held.get(tool_id))
        return {key_of(name): value for name, value in _secrets(values).items()}


async def stored_model(model_id: str) -> StoredModel | None:
    """The row of a Model, None where there is none."""
    from open_webui.models.models import Models

    row = await _got(Models.get_model_by_id(model_id))
    if row is None:
        return None
    meta = row.meta.model_dump()
    return StoredModel(row.id, row.name, meta, row.params.model_dump(), integrations_in(meta.get("toolIds")))


def user_valves(user: object) -> UserValves:
    """The settings that a user has entered, from the account as Open WebUI read it for this request."""
    settings = getattr(user, "settings", None)
    held = settings.model_dump() if settings is not None else {}
    tools = held.get("tools")
    held = tools.get("valves") if isinstance(tools, Mapping) else None
    return UserValves(held if isinstance(held, Mapping) else {})


def own_keys(held: UserValves) -> dict[str, SecretStr]:
    """Provider to the user's own key."""
    return keys_in(held.of(USER_KEYS))


async def default_keys() -> dict[str, SecretStr]:
    """Provider to the key that an admin set for all users."""
    from open_webui.models.tools import Tools

    return keys_in(_secrets(await _got(Tools.get_tool_valves_by_id(DEFAULT_KEYS)) or {}))


def keys_in(values: Mapping[str, SecretStr]) -> dict[str, SecretStr]:
    """Provider to key, from the fields of one of the two tools for provider keys."""
    return {name: values[field] for name, field in KEY_FIELDS.items() if field in values}


async def usable(names: Collection[str], user: object) -> frozenset[str]:
    """Of these integrations, those whose tool this user may read and whose folder is not gone."""
    from open_webui.models.tools import Tools

    if not names:
        return frozenset()
    rows = await _got(Tools.get_tools_by_ids([TOOL_PREFIX + name for name in names]))
    there = [row for row in rows.values() if line_of(row.meta.description or "") != GONE]
    allowed = [row for row in there if await _may_read(row, user)]
    return frozenset(row.id.removeprefix(TOOL_PREFIX) for row in allowed)


async def _may_read(row: object, user: object) -> bool:
    from open_webui.config import BYPASS_ADMIN_ACCESS_CONTROL
    from open_webui.models.access_grants import AccessGrants

    user_id, role = user.id, user.role  # type: ignore[attr-defined]
    if (role == "admin" and BYPASS_ADMIN_ACCESS_CONTROL) or row.user_id == user_id:  # type: ignore[attr-defined]
        return True
    tool_id: str = row.id  # type: ignore[attr-defined]
    allowed = AccessGrants.has_access(user_id=user_id, resource_type="tool", resource_id=tool_id, permission="read")
    return bool(await _got(allowed))


async def chat_began_at(chat_id: str) -> float | None:
    """When a stored chat was made, None for one that is not stored."""
    from open_webui.models.chats import Chats

    row = await _got(Chats.get_chat_by_id(chat_id)) if chat_id else None
    return None if row is None else float(row.created_at)


async def versions(model_id: str) -> list[Version]:
    """The saved versions of a Model, the newest first."""
    from open_webui.internal.db import get_async_db
    from open_webui.models.model_history import ModelHistory
    from sqlalchemy import select

    asked = select(ModelHistory.created_at, ModelHistory.snapshot).where(ModelHistory.model_id == model_id)
    async with get_async_db() as session:
        rows = (await session.execute(asked.order_by(ModelHistory.created_at.desc()).limit(200))).all()
    return versions_of([(float(at), (snapshot or {}).get("meta") or {}) for at, snapshot in rows])


def _secrets(values: Mapping[str, object]) -> dict[str, SecretStr]:
    return {
        str(name): SecretStr(str(value)) for name, value in values.items() if value is not None and str(value).strip()
    }
