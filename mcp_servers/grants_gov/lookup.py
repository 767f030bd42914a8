"""Reading single opportunities by id or by number: what is found, and what is not, with the next step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from pydantic import JsonValue

from mcp_servers.grants_gov import codes
from mcp_servers.grants_gov.client import Data, GrantsGov
from mcp_servers.grants_gov.query import ALL_STATUSES, Filters
from mcp_servers.grants_gov.rows import hit_id, row
from mcp_servers.grants_gov.search import by_number
from mcp_servers.kit.clock import Deadline
from mcp_servers.kit.errors import InvalidArgument
from mcp_servers.kit.results import Item, Provenance

MAX_AT_ONCE = 5
MAX_CANDIDATES = 10

T = TypeVar("T")


@dataclass(frozen=True)
class Wanted:
    """At most five opportunities, each named once: ids as digits, numbers as published."""

    ids: tuple[str, ...]
    numbers: tuple[str, ...]


@dataclass(frozen=True)
class Lookup:
    """Records in the order asked for, and one entry of ``unresolved`` for each input that is not exactly one record."""

    records: tuple[Data, ...]
    unresolved: tuple[JsonValue, ...]
    provenance: Provenance


def read_wanted(ids: Sequence[str], numbers: Sequence[str]) -> Wanted:
    """What is asked for. Raises InvalidArgument for an id that is no positive number, for none and for over five."""
    wanted = Wanted(
        tuple(dict.fromkeys(_id(value) for value in ids)),
        tuple(dict.fromkeys(codes.opportunity_number(value, "opportunity_numbers") for value in numbers)),
    )
    count = len(wanted.ids) + len(wanted.numbers)
    if not 1 <= count <= MAX_AT_ONCE:
        raise InvalidArgument(
            "opportunity_ids",
            f"{count} opportunities are named; 1 to {MAX_AT_ONCE} can be read at once",
            what_to_do="Pass opportunity_ids from search_opportunities, or opportunity_numbers such as HRSA-27-005.",
        )
    return wanted


async def look_up(api: GrantsGov, wanted: Wanted, today: date, deadline: Deadline) -> Lookup:
    """Numbers are looked for in all statuses. One failing read fails the whole: what exists must not be guessed."""
    resolved = await _all([_resolve(api, number, today, deadline) for number in wanted.numbers])
    ids = dict.fromkeys((*wanted.ids, *(found.opportunity_id for found in resolved if found.opportunity_id)))
    read = await _all([api.read(opportunity_id, deadline) for opportunity_id in ids])
    records = tuple(data for data, _ in read if data is not None)
    missing = [_missing_id(name) for name, (data, _) in zip(ids, read, strict=True) if data is None]
    unresolved = (*missing, *(found.unresolved for found in resolved if found.unresolved))
    parts = [provenance for _, provenance in read] + [found.provenance for found in resolved]
    return Lookup(records, unresolved, Provenance.merge(api.upstream.title, parts))


@dataclass(frozen=True)
class _Resolved:
    provenance: Provenance
    opportunity_id: str | None = None
    unresolved: JsonValue = None


async def _resolve(api: GrantsGov, number: str, today: date, deadline: Deadline) -> _Resolved:
    filters = Filters(statuses=ALL_STATUSES, opportunity_number=number, sort="relevance")
    hits, provenance = await by_number(api, filters, deadline)
    known = [hit for hit in hits if hit_id(hit)]
    if len(known) == 1:
        return _Resolved(provenance, hit_id(known[0]))
    if not known:
        return _Resolved(provenance, unresolved=_missing_number(number))
    return _Resolved(provenance, unresolved=_ambiguous(number, [row(hit, today) for hit in known]))


def _id(value: str) -> str:
    text = value.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text) > 0):
        raise InvalidArgument(
            "opportunity_ids",
            f"{value[:40]!r} is not an id: ids are positive whole numbers such as 363423",
            what_to_do="Pass the opportunity_id of a search row. HRSA-27-005 would be one of opportunity_numbers.",
        )
    return str(int(text))


def _missing_id(opportunity_id: str) -> Item:
    return {
        "input": opportunity_id,
        "kind": "opportunity_id",
        "reason": "not_found",
        "candidates": [],
        "next_step": "Ids come from search_opportunities. A bare number can also be an opportunity number:"
        f" call get_opportunities with opportunity_numbers [{opportunity_id!r}].",
    }


def _missing_number(number: str) -> Item:
    return {
        "input": number,
        "kind": "opportunity_number",
        "reason": "not_found",
        "candidates": [],
        "next_step": "Check spelling and punctuation, or call search_opportunities with the number in double quotes as"
        " keyword and all four statuses.",
    }


def _ambiguous(number: str, rows: Sequence[Item]) -> Item:
    kept = ("opportunity_id", "opportunity_number", "title", "agency_name", "status", "open_date", "close_date", "url")
    candidates: list[JsonValue] = [{name: entry[name] for name in kept} for entry in rows[:MAX_CANDIDATES]]
    return {
        "input": number,
        "kind": "opportunity_number",
        "reason": "ambiguous",
        "matches": len(rows),
        "candidates": candidates,
        "next_step": "Several opportunities have this number. Ask the user which one is meant, then call"
        " get_opportunities with its opportunity_id.",
    }


async def _all(calls: Sequence[Awaitable[T]]) -> list[T]:
    """The results in order; the first failure ends the others and is raised itself."""

    async def run(call: Awaitable[T]) -> T:
        return await call

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(call)) for call in calls]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]
