"""Rows of the tools' answers, built from records. A value that Instrumentl does not give is null."""

from __future__ import annotations

from datetime import date

from pydantic import JsonValue

from mcp_servers.instrumentl.records import Grant, Project, SavedGrant
from mcp_servers.instrumentl.search import Match
from mcp_servers.kit.results import Item
from mcp_servers.kit.text import html_to_text, shorten

CONCISE_OVERVIEW = 300
DETAILED_OVERVIEW = 1500
CONCISE_RECORD = 6000
DETAILED_RECORD = 12000
_OTHER_TEXT = 500
_OTHER_ENTRIES = 20


def project_item(project: Project) -> Item:
    return {"project_id": project.id, "title": project.title, "active": project.active}


def grant_item(grant: Grant, today: date) -> Item:
    """The fields that every listing of grants shares."""
    deadline = grant.next_deadline
    return {
        "grant_id": grant.id,
        "name": grant.name,
        "funder_name": grant.funder_name,
        "next_deadline": None if deadline is None else deadline.isoformat(),
        "days_left": None if deadline is None else (deadline - today).days,
        "deadline_kind": grant.deadline_kind,
        "status": grant.status,
        "url": grant.url,
    }


def more_of(grant: Grant, longest_overview: int) -> Item:
    """What a detailed row adds."""
    return {
        "overview": None if grant.overview is None else shorten(grant.overview, longest_overview),
        "areas": list(grant.areas),
        "cycles": list(grant.cycles),
        "is_custom": grant.is_custom,
        "funder_id": grant.funder_id,
    }


def saved_item(saved: SavedGrant, grant: Grant | None, today: date, *, detailed: bool) -> Item:
    known = grant or Grant(saved.grant_id)
    item = grant_item(known, today) | {"status": saved.status or known.status}
    if grant is None:
        item["deadline_kind"] = None
    extra = more_of(known, CONCISE_OVERVIEW) if detailed else {}
    return {"saved_grant_id": saved.id, **item, "project_id": saved.project_id, **extra}


def match_item(match: Match, today: date, *, detailed: bool) -> Item:
    extra = more_of(match.grant, DETAILED_OVERVIEW if detailed else CONCISE_OVERVIEW)
    if not detailed:
        extra = {"overview": extra["overview"]}
    return {**grant_item(match.grant, today), "matched_terms": list(match.terms), **extra}


def deadline_item(saved: SavedGrant, grant: Grant, today: date) -> Item:
    """One date as a calendar takes it (RFC 5545): ``uid``, ``date`` as DTSTART;VALUE=DATE, ``summary``, ``url``."""
    of_whom = f" ({grant.funder_name})" if grant.funder_name else ""
    item = grant_item(grant, today)
    return {
        "date": item["next_deadline"],
        "days_left": item["days_left"],
        "summary": f"Deadline: {grant.name or f'grant {grant.id}'}{of_whom}",
        "uid": f"instrumentl-{saved.id}-{item['next_deadline']}@open-persona",
        "grant_id": grant.id,
        "saved_grant_id": saved.id,
        "project_id": saved.project_id,
        "deadline_kind": grant.deadline_kind,
        "status": saved.status or grant.status,
        "url": grant.url,
    }


def record_item(grant: Grant, today: date, *, detailed: bool) -> Item:
    """All that is known of one grant; ``other`` has the fields of Instrumentl that have no name of ours."""
    item = {**grant_item(grant, today), "rolling": grant.rolling}
    item |= more_of(grant, DETAILED_RECORD if detailed else CONCISE_RECORD)
    item["categories"] = {name: list(entries) for name, entries in grant.categories.items()}
    if detailed:
        item["other"] = {name: _tamed(value) for name, value in list(grant.other.items())[:_OTHER_ENTRIES]}
    return item


def _tamed(value: JsonValue, depth: int = 2) -> JsonValue:
    """An unknown field, small enough to show."""
    if isinstance(value, str):
        return shorten(html_to_text(value), _OTHER_TEXT)
    if isinstance(value, list):
        return [_tamed(entry, depth - 1) for entry in value[:_OTHER_ENTRIES]] if depth else f"{len(value)} entries"
    if isinstance(value, dict):
        entries = list(value.items())[:_OTHER_ENTRIES]
        return {name: _tamed(entry, depth - 1) for name, entry in entries} if depth else f"{len(value)} fields"
    return value
