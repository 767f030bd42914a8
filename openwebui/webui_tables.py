"""Open WebUI's own tables, through its own accessors: the only module of the seeder that imports Open WebUI."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from .accessors import got
from .seed_connection import Connections
from .tool_source import FIRST_LINES, MANIFEST
from .wanted import WantedModel, WantedTool

OWNER = "open-persona-system"
"""Who owns the rows that the seeder makes. It is nobody's account."""

Grant = dict[str, str]
PUBLIC_READ: tuple[Grant, ...] = ({"principal_type": "user", "principal_id": "*", "permission": "read"},)

_URLS, _KEYS, _CONFIGS, _ENABLE = (
    "openai.api_base_urls",
    "openai.api_keys",
    "openai.api_configs",
    "openai.enable",
)


@dataclass(frozen=True)
class ToolRow:
    """A tool that is there. ``ours`` is false for one that somebody made under the same id."""

    id: str
    description: str
    content: str
    has_user_valves: bool
    grants: tuple[Grant, ...]
    ours: bool


@dataclass(frozen=True)
class Person:
    """An account, with the settings that its user made."""

    id: str
    name: str
    settings: Mapping[str, object] = field(default_factory=dict, repr=False)

    def valves(self, tool_id: str) -> Mapping[str, object]:
        """The user's own values of a tool's fields, in the clear."""
        from open_webui.utils.valves import decrypt_valves

        tools = self.settings.get("tools")
        held = tools.get("valves") if isinstance(tools, Mapping) else None
        values = decrypt_valves(held.get(tool_id)) if isinstance(held, Mapping) else {}
        return values if isinstance(values, Mapping) else {}


def group_grants(group_id: str) -> tuple[Grant, ...]:
    """Reading and writing for a group."""
    return tuple(
        {"principal_type": "group", "principal_id": group_id, "permission": permission}
        for permission in ("read", "write")
    )


async def connections() -> tuple[Connections, bool]:
    """The OpenAI connections, and whether they are switched on at all."""
    from open_webui.models.config import Config

    held = await got(Config.get_many(_URLS, _KEYS, _CONFIGS, _ENABLE))
    urls, keys, configs = held.get(_URLS) or (), held.get(_KEYS) or (), held.get(_CONFIGS) or {}
    return Connections(tuple(urls), tuple(keys), dict(configs)), bool(held.get(_ENABLE))


async def save_connections(wanted: Connections) -> None:
    """Writes all three lists at once, as the page for connections does."""
    from open_webui.models.config import Config

    values = {_URLS: list(wanted.urls), _KEYS: list(wanted.keys), _CONFIGS: dict(wanted.configs)}
    await got(Config.upsert(values))


async def forget_model_list(app: object) -> None:
    """Has the running app read its models anew, so that what was seeded can be picked at once."""
    from open_webui.routers import openai

    await got(openai.clear_models_cache(SimpleNamespace(app=app)))


async def tool(tool_id: str) -> ToolRow | None:
    """The tool of that id."""
    from open_webui.models.tools import Tools

    row = await got(Tools.get_tool_by_id(tool_id))
    return None if row is None else _tool_row(row)


async def tool_ids(prefix: str) -> tuple[str, ...]:
    """The ids of all tools that start with ``prefix``, sorted."""
    from open_webui.models.tools import Tools

    rows = await got(Tools.get_tools(defer_content=True))
    return tuple(sorted(row.id for row in rows if row.id.startswith(prefix)))


async def add_tool(wanted: WantedTool, description: str, grants: Sequence[Grant]) -> None:
    """Makes the tool, with its access, in one transaction."""
    from open_webui.models.tools import ToolForm, ToolMeta, Tools

    meta = ToolMeta(description=description, manifest=dict(MANIFEST), has_user_valves=wanted.has_user_valves)
    form = ToolForm(id=wanted.id, name=wanted.name, content=wanted.content, meta=meta, access_grants=list(grants))
    await got(Tools.insert_new_tool(OWNER, form, []))


async def set_tool_code(wanted: WantedTool) -> None:
    """Gives the tool its code anew, as a version of its history. Name, description and access stay."""
    from open_webui.models.tools import Tools

    row = await got(Tools.get_tool_by_id(wanted.id))
    changed: dict[str, object] = {"content": wanted.content, "specs": []}
    if row is not None and row.meta.has_user_valves != wanted.has_user_valves:
        changed["meta"] = {**row.meta.model_dump(), "has_user_valves": wanted.has_user_valves}
    await got(Tools.update_tool_by_id(wanted.id, changed))


async def set_tool_description(tool_id: str, change: Callable[[str], str]) -> None:
    """Changes the description alone, in one transaction with reading it: an admin's edit is never lost.

    It is not a version of the tool's history and does not move the tool to the top of the lists: how an integration
    is changes by itself and often.
    """
    from open_webui.internal.db import get_async_db
    from open_webui.models.tools import Tool
    from sqlalchemy import update

    async with get_async_db() as session:
        await session.execute(update(Tool).where(Tool.id == tool_id).values(version_id=Tool.version_id))
        row = await session.get(Tool, tool_id, populate_existing=True)
        meta = dict((row.meta if row else None) or {})
        changed = change(str(meta.get("description") or ""))
        if row is not None and changed != meta.get("description"):
            row.meta = {**meta, "description": changed}
            await session.commit()


async def set_tool_access(tool_id: str, grants: Sequence[Grant]) -> None:
    """Replaces the tool's access by exactly these."""
    from open_webui.models.access_grants import AccessGrants

    await got(AccessGrants.set_access_grants("tool", tool_id, list(grants)))


async def group_id(name: str, description: str) -> tuple[str, bool]:
    """The group of that name and whether it was made just now: with no members and no permissions of its own."""
    from open_webui.models.groups import GroupForm, Groups

    found = next((group for group in await got(Groups.get_all_groups()) if group.name == name), None)
    if found is not None:
        return str(found.id), False
    made = await got(Groups.insert_new_group(OWNER, GroupForm(name=name, description=description, permissions={})))
    return str(made.id), True


async def present_models(ids: Iterable[str]) -> set[str]:
    """Those of the ids that have a row."""
    from open_webui.models.models import Models

    return {model.id for model in await got(Models.get_models_by_ids(list(ids)))}


async def add_model(wanted: WantedModel) -> None:
    """Makes the model, readable by all, in one transaction."""
    from open_webui.models.models import ModelForm, ModelMeta, ModelParams, Models

    form = ModelForm(
        id=wanted.id,
        base_model_id=wanted.base,
        name=wanted.name,
        meta=ModelMeta(**wanted.meta),
        params=ModelParams(),
        access_grants=list(PUBLIC_READ),
    )
    await got(Models.insert_new_model(form, OWNER))


async def model_ids() -> tuple[str, ...]:
    """The ids of all models that have a row, sorted."""
    from open_webui.models.models import Models

    return tuple(sorted(model.id for model in await got(Models.get_all_models())))


async def people() -> tuple[Person, ...]:
    """All accounts."""
    from open_webui.models.users import Users

    answer = await got(Users.get_users())
    rows = answer["users"] if isinstance(answer, dict) else answer
    return tuple(
        Person(row.id, row.name or row.email, row.settings.model_dump() if row.settings else {}) for row in rows
    )


async def admin_valves(tool_id: str) -> Mapping[str, object]:
    """The values that an admin set in a tool, in the clear."""
    from open_webui.models.tools import Tools

    return await got(Tools.get_tool_valves_by_id(tool_id)) or {}


def version() -> str:
    from open_webui.env import VERSION

    return str(VERSION)


def is_patched() -> bool:
    """Whether what Open WebUI calls to make the headers of a request is a function of this package."""
    from open_webui.routers import openai

    code = getattr(openai.get_headers_and_cookies, "__code__", None)
    return code is not None and Path(code.co_filename).parent == Path(__file__).parent


async def note(key: str) -> Mapping[str, object]:
    """A row of Open WebUI's config table that is ours: {} where there is none.

    Not through its accessors: those ignore the table where an operator has switched persistent config off.
    """
    from open_webui.internal.db import get_async_db
    from open_webui.models.config import Config

    async with get_async_db() as session:
        row = await session.get(Config, key)
        return row.value if row is not None and isinstance(row.value, dict) else {}


async def save_note(key: str, value: Mapping[str, object], now: int) -> None:
    """Writes that row."""
    from open_webui.internal.db import get_async_db
    from open_webui.models.config import Config

    async with get_async_db() as session:
        await session.merge(Config(key=key, value=dict(value), updated_at=now))
        await session.commit()


def _tool_row(row: object) -> ToolRow:
    meta, grants = row.meta, row.access_grants  # type: ignore[attr-defined]
    content = row.content or ""  # type: ignore[attr-defined]
    return ToolRow(
        id=row.id,  # type: ignore[attr-defined]
        description=meta.description or "",
        content=content,
        has_user_valves=meta.has_user_valves,
        grants=tuple(
            {"principal_type": each.principal_type, "principal_id": each.principal_id, "permission": each.permission}
            for each in grants
        ),
        ours=row.user_id == OWNER or content.startswith(FIRST_LINES),  # type: ignore[attr-defined]
    )
