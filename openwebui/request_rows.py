"""What one request needs of Open WebUI's tables, in as few reads as possible: each costs most of a millisecond."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from .accessors import got
from .field_names import key_of
from .integration_tools import PREFIX as TOOL_PREFIX
from .old_chats import Version, versions_of
from .provider_tools import DEFAULT_KEYS, KEY_FIELDS, USER_KEYS
from .request_errors import LostKeyError
from .status_line import GONE, line_of
from .toggles import integrations_in
from .webui_tables import OWNER

EMPTY_CHARS = 100
"""The length of a Fernet token of ``{}``, which is what is stored of an empty form."""


@dataclass(frozen=True)
class StoredModel:
    """A Model as it is stored. ``ticked`` are the integrations whose tools are ticked in it; ``by_admin``: it belongs
    to an admin or to the seeder, and to no user who may make Models of their own."""

    id: str
    name: str
    meta: Mapping[str, object]
    params: Mapping[str, object] = field(repr=False)
    ticked: frozenset[str]
    by_admin: bool


@dataclass(frozen=True)
class UserValves:
    """What a user has entered in the settings of tools, decrypted when asked for."""

    _held: Mapping[str, object] = field(repr=False)

    def of(self, tool_id: str) -> dict[str, SecretStr]:
        """Setting to value, the empty ones left out.

        Raises:
            LostKeyError: something is stored and can't be decrypted. Without it a user would go on with others' keys.
        """
        stored = self._held.get(tool_id)
        values = _decrypted(stored)
        if not values and isinstance(stored, str) and len(stored) > EMPTY_CHARS:
            raise LostKeyError
        return {key_of(name): value for name, value in _secrets(values).items()}


@dataclass(frozen=True)
class StoredTools:
    """``usable``: of the integrations asked for, those whose tool this user may read and that are not gone."""

    usable: frozenset[str]
    default_keys: Mapping[str, SecretStr]


class Reading:
    """One session with the database, for the reads of one request."""

    def __init__(self, session: Any) -> None:
        self._session = session

    async def model(self, model_id: str) -> StoredModel | None:
        """The row of a Model, None where there is none."""
        from open_webui.models.models import Model
        from open_webui.models.users import User
        from sqlalchemy import select

        asked = select(Model.name, Model.meta, Model.params, Model.user_id, User.role).where(Model.id == model_id)
        row = (await self._session.execute(asked.outerjoin(User, User.id == Model.user_id))).one_or_none()
        if row is None:
            return None
        meta, params = row.meta or {}, row.params or {}
        by_admin = row.role == "admin" or row.user_id == OWNER
        return StoredModel(model_id, row.name, meta, params, integrations_in(meta.get("toolIds")), by_admin)

    async def tools(self, names: Collection[str], user: Any) -> StoredTools:
        """The tools of these integrations, and the one with the default keys."""
        from open_webui.models.tools import Tool
        from sqlalchemy import select

        ids = [TOOL_PREFIX + name for name in names]
        asked = select(Tool.id, Tool.user_id, Tool.meta, Tool.valves).where(Tool.id.in_([*ids, DEFAULT_KEYS]))
        found = {row.id: row for row in await self._session.execute(asked)}
        defaults = found.pop(DEFAULT_KEYS, None)
        there = [row for row in found.values() if line_of((row.meta or {}).get("description") or "") != GONE]
        public = await self._public([row.id for row in there])
        usable = {row.id for row in there if row.id in public or await _may_read(row, user)}
        return StoredTools(
            usable=frozenset(tool_id.removeprefix(TOOL_PREFIX) for tool_id in usable),
            default_keys=keys_in(_secrets(_decrypted(defaults.valves if defaults is not None else None))),
        )

    async def _public(self, ids: Collection[str]) -> frozenset[str]:
        """Those that everybody may read, which is nearly all: for them nobody's groups are looked up."""
        from open_webui.models.access_grants import AccessGrant
        from sqlalchemy import select

        if not ids:
            return frozenset()
        asked = select(AccessGrant.resource_id).where(
            AccessGrant.resource_type == "tool",
            AccessGrant.resource_id.in_(ids),
            AccessGrant.principal_type == "user",
            AccessGrant.principal_id == "*",
            AccessGrant.permission == "read",
        )
        return frozenset((await self._session.execute(asked)).scalars())


@asynccontextmanager
async def reading() -> AsyncIterator[Reading]:
    """Open a session for one request's reads."""
    from open_webui.internal.db import get_async_db

    async with get_async_db() as session:
        yield Reading(session)


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


def keys_in(values: Mapping[str, SecretStr]) -> dict[str, SecretStr]:
    """Provider to key, from the fields of one of the two tools for provider keys."""
    return {name: values[field] for name, field in KEY_FIELDS.items() if field in values}


async def _may_read(row: Any, user: Any) -> bool:
    from open_webui.config import BYPASS_ADMIN_ACCESS_CONTROL
    from open_webui.models.access_grants import AccessGrants

    if (user.role == "admin" and BYPASS_ADMIN_ACCESS_CONTROL) or row.user_id == user.id:
        return True
    allowed = AccessGrants.has_access(user_id=user.id, resource_type="tool", resource_id=row.id, permission="read")
    return bool(await got(allowed))


async def chat_began_at(chat_id: str) -> float | None:
    """When a stored chat was made, None for one that is not stored."""
    from open_webui.models.chats import Chats

    row = await got(Chats.get_chat_by_id(chat_id)) if chat_id else None
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


def _decrypted(valves: object) -> Mapping[str, object]:
    """What Open WebUI has stored, in the clear; nothing where it can't be decrypted."""
    from open_webui.utils.valves import decrypt_valves

    values = decrypt_valves(valves)
    return values if isinstance(values, Mapping) else {}


def _secrets(values: Mapping[str, object]) -> dict[str, SecretStr]:
    return {
        str(name): SecretStr(str(value)) for name, value in values.items() if value is not None and str(value).strip()
    }
