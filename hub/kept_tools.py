"""What ``hub.db`` keeps of tools: their definitions, which of them are accepted, and how they changed.

A definition is kept while a tool has it, as listed or as accepted. What is accepted stays when its folder goes: one
that returns under the same name is compared with it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.dialects.sqlite import insert

from hub.errors import ProbeError
from hub.history_tables import approvals, changes, definitions, millis, time_of
from hub.state import Standing
from hub.tools import Tool, read_tool, seen_by_a_model
from hub.wire import ChangeEntry, ToolDrift

logger = logging.getLogger(__name__)

MAX_CHANGES = 100
"""Changes kept of one integration."""

_fingerprints = TypeAdapter(dict[str, str])
_drift = TypeAdapter(tuple[ToolDrift, ...])

Accepted = Mapping[str, str]
Shown = tuple[frozenset[str], Accepted]


def shown_by(standing: Standing) -> Shown:
    """All that this module keeps of a standing's tools, to be compared: the listed fingerprints, the accepted tools."""
    listed = frozenset(tool.fingerprint for tool in standing.tools or ())
    return listed, {tool.name: tool.fingerprint for tool in standing.approved or ()}


def keep(connection: sa.Connection, name: str, standing: Standing) -> None:
    """Store the definitions of a standing and what is accepted."""
    if standing.approved is None:
        return
    listed, accepted = shown_by(standing)
    tools = {tool.fingerprint: tool for tool in (*standing.approved, *(standing.tools or ())) if tool.definition}
    mine = definitions.c.name == name
    known = set(connection.execute(sa.select(definitions.c.fingerprint).where(mine)).scalars())
    rows = [
        {"name": name, "fingerprint": one, "body": json.dumps(seen_by_a_model(tool.definition))}
        for one, tool in tools.items()
        if one not in known
    ]
    if rows:
        connection.execute(sa.insert(definitions), rows)
    for one in known - listed - set(accepted.values()):
        connection.execute(sa.delete(definitions).where(mine, definitions.c.fingerprint == one))
    body = {"name": name, "body": json.dumps(accepted)}
    connection.execute(insert(approvals).values(body).on_conflict_do_update(index_elements=["name"], set_=body))


def recalled(connection: sa.Connection, name: str, standing: Standing) -> Standing:
    """``standing`` with its definitions, with what is accepted and with its last change, as far as they are stored."""
    rows = connection.execute(sa.select(definitions.c.body).where(definitions.c.name == name)).scalars()
    known = {tool.fingerprint: tool for tool in _readable(rows)}
    listed = standing.tools
    return replace(
        standing,
        tools=None if listed is None else tuple(known.get(tool.fingerprint, tool) for tool in listed),
        approved=_accepted(connection, name, known),
        change=_last_change(connection, name),
    )


def add_change(connection: sa.Connection, name: str, entry: ChangeEntry) -> None:
    """Store one change, and forget the oldest over :data:`MAX_CHANGES`."""
    body = _drift.dump_json(entry.tools).decode()
    connection.execute(sa.insert(changes), {"name": name, "at": millis(entry.at), "kind": entry.kind, "body": body})
    mine = sa.select(changes.c.id).where(changes.c.name == name).order_by(changes.c.id.desc())
    connection.execute(sa.delete(changes).where(changes.c.id.in_(mine.offset(MAX_CHANGES).limit(-1))))


def read_changes(connection: sa.Connection, name: str, limit: int) -> tuple[ChangeEntry, ...]:
    """The last changes, newest first."""
    query = sa.select(changes).where(changes.c.name == name).order_by(changes.c.id.desc()).limit(limit)
    return tuple(
        ChangeEntry(at=time_of(row["at"]), kind=row["kind"], tools=_drift.validate_json(row["body"]))
        for row in connection.execute(query).mappings()
    )


def _readable(bodies: Iterable[str]) -> Sequence[Tool]:
    tools = []
    for body in bodies:
        try:
            tools.append(read_tool(json.loads(body)))
        except (ValueError, ProbeError):
            logger.warning("a stored definition can't be read")
    return tools


def _accepted(connection: sa.Connection, name: str, known: Mapping[str, Tool]) -> tuple[Tool, ...] | None:
    body = connection.execute(sa.select(approvals.c.body).where(approvals.c.name == name)).scalar()
    if body is None:
        return None
    try:
        accepted = _fingerprints.validate_json(body)
    except ValidationError:
        logger.warning("what was approved of %s can't be read: nothing of it counts as approved", name)
        return ()
    return tuple(known.get(fingerprint, Tool(tool, fingerprint)) for tool, fingerprint in accepted.items())


def _last_change(connection: sa.Connection, name: str) -> tuple[ToolDrift, ...]:
    query = sa.select(changes.c.body).where(changes.c.name == name, changes.c.kind == "changed")
    body = connection.execute(query.order_by(changes.c.id.desc()).limit(1)).scalar()
    try:
        return _drift.validate_json(body) if body else ()
    except ValidationError:
        return ()
