"""Three ways to search: a page, everything that closes soon, one opportunity number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from mcp_servers.grants_gov.client import Data, GrantsGov, SearchAnswer
from mcp_servers.grants_gov.codes import Vocabulary
from mcp_servers.grants_gov.dates import parse_date, real_date
from mcp_servers.grants_gov.query import Filters, build_body
from mcp_servers.grants_gov.rows import hit_id, hit_number
from mcp_servers.kit.clock import Deadline
from mcp_servers.kit.results import Provenance

SCAN_ROWS = 500
SCAN_PAGES = 4
NUMBER_ROWS = 100


@dataclass(frozen=True)
class Found:
    """The hits from ``offset`` on. ``total`` is null where not all could be counted."""

    hits: tuple[Data, ...]
    total: int | None
    more: bool
    provenance: Provenance
    facets: Vocabulary = field(default_factory=Vocabulary)
    notices: tuple[str, ...] = ()


async def search(
    api: GrantsGov, filters: Filters, *, limit: int, offset: int, today: date, deadline: Deadline
) -> Found:
    """At most ``limit`` hits from the 0-based ``offset``."""
    if filters.opportunity_number:
        found = await _by_number(api, filters, deadline)
        in_time = _in_window(found.hits, filters, today) if filters.closing_within_days is not None else found.hits
        return _sliced(replace(found, hits=in_time, total=len(in_time)), limit, offset)
    if filters.closing_within_days is not None:
        return _sliced(await _closing_soon(api, filters, today, deadline), limit, offset)
    return await _page(api, filters, limit, offset, deadline)


async def by_number(api: GrantsGov, filters: Filters, deadline: Deadline) -> tuple[tuple[Data, ...], Provenance]:
    """The hits whose number is exactly the filter's, and where they come from."""
    found = await _by_number(api, filters, deadline)
    return found.hits, found.provenance


async def _page(api: GrantsGov, filters: Filters, limit: int, offset: int, deadline: Deadline) -> Found:
    answer = await api.search(build_body(filters, rows=limit, start=offset), deadline)
    hits = _distinct(answer.hits)[:limit]
    more = bool(hits) and offset + len(answer.hits) < answer.total
    notices = [*answer.notices, *_nothing(answer, filters)] if answer.total == 0 else [*answer.notices]
    if not hits and answer.total:
        notices.append(f"This is past the end of {answer.total} matches: search again without cursor.")
    return Found(hits, answer.total, more, answer.provenance, answer.facets, tuple(notices))


async def _by_number(api: GrantsGov, filters: Filters, deadline: Deadline) -> Found:
    number = filters.opportunity_number or ""
    answer = await api.search(build_body(filters, rows=NUMBER_ROWS), deadline)
    hits = _exact(answer, number)
    if not hits and number != number.upper():  # upstream compares case: hrsa-27-005 finds nothing
        upper = replace(filters, opportunity_number=number.upper())
        answer = await api.search(build_body(upper, rows=NUMBER_ROWS), deadline)
        hits = _exact(answer, number)
    return Found(hits, len(hits), False, answer.provenance, answer.facets, answer.notices)


async def _closing_soon(api: GrantsGov, filters: Filters, today: date, deadline: Deadline) -> Found:
    """Upstream has no filter for close dates: read posted hits in their order, stop behind the window."""
    seen: tuple[Data, ...] = ()
    answers: list[SearchAnswer] = []
    finished = False
    while not finished and len(answers) < SCAN_PAGES:
        answer = await api.search(build_body(filters, rows=SCAN_ROWS, start=len(answers) * SCAN_ROWS), deadline)
        answers.append(answer)
        seen += answer.hits
        finished = len(answer.hits) < SCAN_ROWS or _is_behind(answer.hits, filters, today)
    hits = _distinct(_in_window(seen, filters, today))
    notices = list(dict.fromkeys(notice for answer in answers for notice in answer.notices))
    if not finished:
        notices.append(f"Only the first {len(seen)} posted opportunities by close date were read: add a filter.")
    if not hits:
        notices.append(_empty_window(seen, filters, answers[0].total, today))
    provenance = Provenance.merge(api.upstream.title, [answer.provenance for answer in answers])
    return Found(hits, len(hits) if finished else None, False, provenance, answers[0].facets, tuple(notices))


def _is_behind(hits: Sequence[Data], filters: Filters, today: date) -> bool:
    """Whether a page that is in order ends after the window; blanks come last."""
    days = [parse_date(hit.get("closeDate")) or date.max for hit in hits]
    return days == sorted(days) and days[-1] > _cutoff(filters, today)


def _in_window(hits: Sequence[Data], filters: Filters, today: date) -> tuple[Data, ...]:
    cutoff = _cutoff(filters, today)
    dated = [(day, hit) for hit in hits if (day := real_date(hit.get("closeDate"), today)) is not None]
    return tuple(hit for day, hit in sorted(dated, key=lambda pair: pair[0]) if today <= day <= cutoff)


def _cutoff(filters: Filters, today: date) -> date:
    return today + timedelta(days=filters.closing_within_days or 0)


def _empty_window(seen: Sequence[Data], filters: Filters, posted: int, today: date) -> str:
    window = f"within {filters.closing_within_days} days" if filters.closing_within_days else "today"
    later = [day for hit in seen if (day := real_date(hit.get("closeDate"), today)) and day > _cutoff(filters, today)]
    if later:
        days = (min(later) - today).days
        return f"No match closes {window}; the next one closes {min(later)}: set closing_within_days to {days} or more."
    if posted:
        return f"None of the {posted} posted matches has a fixed deadline {window}: search without closing_within_days."
    return "No posted opportunity matches these filters at all: drop a filter or a keyword."


def _nothing(answer: SearchAnswer, filters: Filters) -> list[str]:
    notices = ["No opportunity matches all of these filters. Drop one filter at a time."]
    if filters.keyword and " AND " in filters.keyword:
        notices.append("All keyword terms are required: drop a term, or join alternatives with OR.")
    counts = {code.code: code.count or 0 for code in answer.facets.topics.get("statuses", ())}
    past = [f"{counts[name]} {name}" for name in ("closed", "archived") if counts.get(name)]
    if past and not {"closed", "archived"} & set(filters.statuses):
        notices.append(f"But {' and '.join(past)} ones do: add these statuses to see them.")
    return notices


def _exact(answer: SearchAnswer, number: str) -> tuple[Data, ...]:
    """Upstream also returns numbers that only contain the one asked for."""
    return _distinct([hit for hit in answer.hits if hit_number(hit).casefold() == number.casefold()])


def _distinct(hits: Sequence[Data]) -> tuple[Data, ...]:
    return tuple({hit_id(hit) or str(index): hit for index, hit in enumerate(hits)}.values())


def _sliced(found: Found, limit: int, offset: int) -> Found:
    hits = found.hits[offset : offset + limit]
    return replace(found, hits=hits, more=offset + len(hits) < len(found.hits))
