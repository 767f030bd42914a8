"""Brings the tools to what is wanted, and changes nothing that is already so.

Code and fields are ours at every start. Name, description and access count at the first seed; afterwards only the
marked last line of the description is written (``status_line``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from . import webui_tables as tables
from .catalog import Integration
from .integration_tools import integration_tool
from .provider_tools import ADMINS_GROUP, DEFAULT_KEYS, provider_tools
from .seed_errors import NotOursError
from .seed_memory import Memory, recall, remember
from .status_line import GONE, UNKNOWN, described, line_of
from .wanted import PublicRead, WantedTool
from .webui_tables import PUBLIC_READ, Grant, ToolRow

_GROUP_DESCRIPTION = "Its members may read and set the default provider keys of Open Persona."


async def seed_provider_tools() -> None:
    """The two tools for provider keys, and the group that may set the defaults."""
    group, made = await tables.group_id(ADMINS_GROUP, _GROUP_DESCRIPTION)
    for wanted in provider_tools():
        grants = PUBLIC_READ if isinstance(wanted.access, PublicRead) else tables.group_grants(group)
        row = await _seed(wanted, grants)
        if made and row is not None and wanted.id == DEFAULT_KEYS:
            await tables.set_tool_access(wanted.id, (*row.grants, *grants))


async def seed_integration(integration: Integration, memory: Memory) -> None:
    """The tool of one integration. An invalid one has no fields to show: its tool keeps those that it has."""
    wanted = integration_tool(integration)
    row = await tables.tool(wanted.id) if integration.invalid else await _seed(wanted, PUBLIC_READ)
    if row is None:
        return
    _check_ours(row)
    await _show_again(row, memory)
    await _set_line(row, wanted.status)


async def hide(tool_id: str, memory: Memory) -> None:
    """Hides the tool of an integration that is gone, once: users lose sight of it and keep their settings.

    An admin still sees it, so its description says why. Access that an admin gives it afterwards stays.
    """
    row = await tables.tool(tool_id)
    if row is None or not row.ours or line_of(row.description) == GONE:
        return
    if tool_id not in memory.hidden:
        await remember((await recall()).with_hidden(tool_id, row.grants))
    if row.grants:
        await tables.set_tool_access(tool_id, ())
    await _set_line(row, GONE)


async def mark_unknown(tool_id: str) -> None:
    """Says that nobody knows how the integration is."""
    row = await tables.tool(tool_id)
    if row is not None and row.ours and line_of(row.description) != GONE:
        await _set_line(row, UNKNOWN)


async def _seed(wanted: WantedTool, grants: Sequence[Grant]) -> ToolRow | None:
    """The row as it was before; None when the tool was made now."""
    row = await tables.tool(wanted.id)
    if row is None:
        await tables.add_tool(wanted, described(wanted.description, wanted.status), grants)
        return None
    _check_ours(row)
    if row.content != wanted.content or row.has_user_valves != wanted.has_user_valves:
        await tables.set_tool_code(wanted)
    return row


async def _show_again(row: ToolRow, memory: Memory) -> None:
    if line_of(row.description) != GONE and row.id not in memory.hidden:
        return
    if not row.grants:
        await tables.set_tool_access(row.id, memory.hidden.get(row.id, PUBLIC_READ))
    if row.id in memory.hidden:
        await remember((await recall()).without_hidden(row.id))


async def _set_line(row: ToolRow, line: str | None) -> None:
    if described(row.description, line) != row.description:
        await tables.set_tool_description(row.id, partial(described, line=line))


def _check_ours(row: ToolRow) -> None:
    if not row.ours:
        raise NotOursError(row.id)
