"""From a tool's arguments to a ``search2`` body: pure, and never wider than what was asked.

``search2`` takes twelve keys and ignores any other one, which silently widens the result; so a body is written from a
closed list and never from what a caller sent by name (all rules observed 2026-09-24).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TypedDict

from pydantic import JsonValue

from mcp_servers.grants_gov import codes
from mcp_servers.grants_gov.codes import Vocabulary
from mcp_servers.grants_gov.keywords import compile_keyword
from mcp_servers.kit.errors import InvalidArgument

OPEN = ("forecasted", "posted")
ALL_STATUSES = ("forecasted", "posted", "closed", "archived")

_SORT_BY = {
    "relevance": "",
    "open_date_desc": "openDate|desc",
    "open_date_asc": "openDate|asc",
    "close_date_asc": "closeDate|asc",
    "close_date_desc": "closeDate|desc",
    "number_asc": "oppNum|asc",
    "number_desc": "oppNum|desc",
    "agency_asc": "agency|asc",
    "agency_desc": "agency|desc",
}


class SearchBody(TypedDict, total=False):
    """The twelve keys that ``search2`` reads. Several values of one filter are joined with ``|``."""

    keyword: str
    oppNum: str
    cfda: str  # the documented ``aln`` is ignored
    agencies: str
    eligibilities: str
    fundingCategories: str
    fundingInstruments: str
    oppStatuses: str
    dateRange: str
    sortBy: str
    rows: int
    startRecordNum: int


KEYS = tuple(SearchBody.__annotations__)


@dataclass(frozen=True)
class Asked:
    """The arguments of a search as the tool got them."""

    keyword: str | None = None
    statuses: Sequence[str] = ()
    agencies: Sequence[str] = ()
    eligibilities: Sequence[str] = ()
    include_unrestricted: bool = True
    funding_categories: Sequence[str] = ()
    funding_instruments: Sequence[str] = ()
    assistance_listing: str | None = None
    opportunity_number: str | None = None
    posted_within_days: int | None = None
    closing_within_days: int | None = None
    sort: str | None = None


@dataclass(frozen=True)
class Filters:
    """A search that can be sent: every value normalised, checked and in upstream's form.

    ``closing_within_days`` is the one filter that upstream lacks: it is applied to a scan in order of close dates.
    """

    statuses: tuple[str, ...] = OPEN
    keyword: str | None = None
    agencies: str | None = None
    eligibilities: tuple[str, ...] = ()
    funding_categories: tuple[str, ...] = ()
    funding_instruments: tuple[str, ...] = ()
    assistance_listing: str | None = None
    opportunity_number: str | None = None
    posted_within_days: int | None = None
    closing_within_days: int | None = None
    sort: str = "open_date_desc"
    notices: tuple[str, ...] = field(default=(), compare=False)

    def used(self, today: date) -> dict[str, JsonValue]:
        """The filters as applied, by the tool's own parameter names, without those that are not set."""
        cutoff = None if self.closing_within_days is None else today + timedelta(days=self.closing_within_days)
        values: dict[str, JsonValue] = {
            "keyword": self.keyword,
            "statuses": list(self.statuses),
            "agencies": self.agencies,
            "eligibilities": list(self.eligibilities),
            "funding_categories": list(self.funding_categories),
            "funding_instruments": list(self.funding_instruments),
            "assistance_listing": self.assistance_listing,
            "opportunity_number": self.opportunity_number,
            "posted_within_days": self.posted_within_days,
            "closing_within_days": self.closing_within_days,
            "closing_until": None if cutoff is None else cutoff.isoformat(),
            "sort": self.sort,
        }
        return {name: value for name, value in values.items() if value not in (None, [])}


def read_filters(asked: Asked, vocabulary: Vocabulary | None = None) -> Filters:
    """What ``asked`` means upstream. Raises InvalidArgument; conflicts are named, never resolved in silence.

    Agencies are checked against ``vocabulary`` where one is given.
    """
    if asked.opportunity_number and not asked.statuses:
        asked = replace(asked, statuses=ALL_STATUSES)
    keyword = compile_keyword(asked.keyword) if asked.keyword and asked.keyword.strip() else None
    filters = Filters(
        statuses=_unique(codes.status(value) for value in asked.statuses) or OPEN,
        keyword=keyword,
        agencies=_agencies(asked.agencies, vocabulary),
        eligibilities=_eligibilities(asked),
        funding_categories=_unique(codes.category(value, vocabulary) for value in asked.funding_categories),
        funding_instruments=_unique(codes.instrument(value) for value in asked.funding_instruments),
        assistance_listing=codes.assistance_listing(asked.assistance_listing) if asked.assistance_listing else None,
        opportunity_number=codes.opportunity_number(asked.opportunity_number) if asked.opportunity_number else None,
        posted_within_days=asked.posted_within_days,
        closing_within_days=asked.closing_within_days,
        sort=codes.sort(asked.sort) if asked.sort else ("relevance" if keyword else "open_date_desc"),
    )
    return _closing(_posted(filters), asked)


def build_body(filters: Filters, *, rows: int, start: int = 0) -> SearchBody:
    """The body for ``rows`` hits from the 0-based position ``start``; keys without a value are left out."""
    body: SearchBody = {"oppStatuses": "|".join(filters.statuses), "rows": rows, "startRecordNum": start}
    if filters.keyword:
        body["keyword"] = filters.keyword
    if filters.opportunity_number:
        body["oppNum"] = f'"{filters.opportunity_number}"'  # unquoted it is a query: PAR-25-14* would match eight
    if filters.assistance_listing:
        body["cfda"] = filters.assistance_listing
    if filters.agencies:
        body["agencies"] = filters.agencies
    if filters.eligibilities:
        body["eligibilities"] = "|".join(filters.eligibilities)
    if filters.funding_categories:
        body["fundingCategories"] = "|".join(filters.funding_categories)
    if filters.funding_instruments:
        body["fundingInstruments"] = "|".join(filters.funding_instruments)
    if filters.posted_within_days is not None:
        body["dateRange"] = str(filters.posted_within_days)
    if sort_by := _SORT_BY[filters.sort]:
        body["sortBy"] = sort_by
    return body


def facets_body() -> SearchBody:
    """No hits, but the facets over all statuses: every code in use."""
    return {"oppStatuses": "|".join(ALL_STATUSES), "rows": 0, "startRecordNum": 0}


def _agencies(asked: Sequence[str], vocabulary: Vocabulary | None) -> str | None:
    known = _unique(codes.agency(value, vocabulary) for value in asked)
    return codes.agency_filter(known, vocabulary) if known else None


def _eligibilities(asked: Asked) -> tuple[str, ...]:
    given = _unique(codes.eligibility(value) for value in asked.eligibilities)
    # What is open to everybody carries 99 alone: without it a nonprofit misses what it may apply for.
    return _unique((*given, codes.UNRESTRICTED)) if given and asked.include_unrestricted else given


def _posted(filters: Filters) -> Filters:
    if filters.posted_within_days is None or set(filters.statuses) <= set(OPEN):
        return filters
    raise InvalidArgument(
        "posted_within_days",
        "Grants.gov drops the status filter when it is combined with closed or archived",
        what_to_do="Leave out posted_within_days, or ask for statuses posted and forecasted alone.",
    )


def _closing(filters: Filters, asked: Asked) -> Filters:
    if filters.closing_within_days is None:
        return filters
    if "posted" not in filters.statuses:
        raise InvalidArgument(
            "closing_within_days",
            f"only posted opportunities have a deadline in the search, not {' or '.join(filters.statuses)} ones",
            what_to_do="Add posted to statuses or leave statuses out.",
        )
    notices = ["closing_within_days looks at posted opportunities: forecasts have no close date in the search."]
    if asked.sort and filters.sort != "close_date_asc":
        notices.append("Sorted by close date, soonest first, because closing_within_days was given.")
    return replace(filters, statuses=("posted",), sort="close_date_asc", notices=tuple(notices))


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
