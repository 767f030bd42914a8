"""Instrumentl's objects as values of ours.

No full sample of the API is published, so every field but the id may be missing or of another type: what is not
understood is None, and unknown fields are kept for ``get_grants``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from pydantic import JsonValue

from mcp_servers.kit.text import html_to_text

GRANT_PAGE = "https://www.instrumentl.com/grants/"
GEOGRAPHY = "geographic_area_category"

DeadlineKind = Literal["fixed", "rolling", "none_listed"]

_GRANT_FIELDS = frozenset(
    {"id", "slug", "name", "overview", "funder", "status", "rolling", "is_custom", "next_deadline_date"}
    | {"funding_cycles", "categories"}
)
_ARCHIVED = frozenset({"archived", "inactive", "closed", "deleted"})


@dataclass(frozen=True)
class Project:
    """``active`` is None where the API says nothing about it."""

    id: str
    title: str | None
    active: bool | None


@dataclass(frozen=True)
class SavedGrant:
    """A grant in the user's pipeline; its details are in the grant that ``grant_id`` names."""

    id: str
    grant_id: str
    project_id: str | None
    status: str | None


@dataclass(frozen=True)
class Grant:
    id: str
    name: str | None = None
    slug: str | None = None
    overview: str | None = None
    funder_name: str | None = None
    funder_id: str | None = None
    status: str | None = None
    rolling: bool | None = None
    is_custom: bool | None = None
    next_deadline: date | None = None
    cycles: tuple[str, ...] = ()
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    other: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def url(self) -> str | None:
        return None if self.slug is None else GRANT_PAGE + self.slug

    @property
    def areas(self) -> tuple[str, ...]:
        return self.categories.get(GEOGRAPHY, ())

    @property
    def deadline_kind(self) -> DeadlineKind:
        if self.rolling:
            return "rolling"
        return "none_listed" if self.next_deadline is None else "fixed"


def project(row: JsonValue) -> Project | None:
    """None for a row that is no object or has no id."""
    if not isinstance(row, dict) or (key := _id(row.get("id"))) is None:
        return None
    return Project(key, _text(row.get("project_title")) or _text(row.get("title")), _active(row))


def saved_grant(row: JsonValue, *, asked_project: str | None) -> SavedGrant | None:
    """``asked_project`` is the project that the listing was narrowed to, if any: rows need not repeat it."""
    if not isinstance(row, dict) or (key := _id(row.get("id"))) is None:
        return None
    inner = row.get("grant")
    grant_id = _id(row.get("grant_id")) or (_id(inner.get("id")) if isinstance(inner, dict) else None)
    if grant_id is None:
        return None
    owner = row.get("project")
    project_id = _id(row.get("project_id")) or (_id(owner.get("id")) if isinstance(owner, dict) else None)
    return SavedGrant(key, grant_id, project_id or asked_project, _text(row.get("status")))


def grant(row: JsonValue) -> Grant | None:
    """None for a row that is no object or has no id."""
    if not isinstance(row, dict) or (key := _id(row.get("id"))) is None:
        return None
    funder = row.get("funder")
    return Grant(
        id=key,
        name=_text(row.get("name")),
        slug=_slug(row.get("slug")),
        overview=_text(row.get("overview")),
        funder_name=_named(funder),
        funder_id=_id(funder.get("id")) if isinstance(funder, dict) else None,
        status=_text(row.get("status")),
        rolling=_flag(row.get("rolling")),
        is_custom=_flag(row.get("is_custom")),
        next_deadline=_date(row.get("next_deadline_date")),
        cycles=_cycles(row.get("funding_cycles")),
        categories=_categories(row.get("categories")),
        other={name: value for name, value in row.items() if name not in _GRANT_FIELDS and value is not None},
    )


def _id(value: JsonValue) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return str(value).strip() or None


def _text(value: JsonValue) -> str | None:
    return html_to_text(value) or None if isinstance(value, str) else None


def _flag(value: JsonValue) -> bool | None:
    return value if isinstance(value, bool) else None


def _named(value: JsonValue) -> str | None:
    return _text(value.get("name")) if isinstance(value, dict) else _text(value)


def _slug(value: JsonValue) -> str | None:
    """Only what can stand in a path: the link is shown to people."""
    if not isinstance(value, str) or not value or not all(char.isalnum() or char in "-_." for char in value):
        return None
    return value


def _date(value: JsonValue) -> date | None:
    if not isinstance(value, str):
        return None
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        return None


def _cycles(value: JsonValue) -> tuple[str, ...]:
    rows = value if isinstance(value, list) else []
    intervals = (_text(row.get("interval")) for row in rows if isinstance(row, dict))
    return tuple(dict.fromkeys(interval for interval in intervals if interval))


def _categories(value: JsonValue) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        return {}
    named = {name: [_named(entry) for entry in rows] for name, rows in value.items() if isinstance(rows, list)}
    return {name: tuple(entry for entry in entries if entry) for name, entries in named.items()}


def _active(row: Mapping[str, JsonValue]) -> bool | None:
    """Clients look at four fields, since it is not known which one is real."""
    active = _flag(row.get("is_active"))
    archived = _flag(row.get("archived"))
    status = _text(row.get("status"))
    if active is False or archived or row.get("archived_at") or (status and status.lower() in _ARCHIVED):
        return False
    return None if active is None and archived is None and status is None and "archived_at" not in row else True
