"""A ``search2`` hit as a row: pure. Both spellings of its keys are read: live ``agency``, documented ``agencyName``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from pydantic import JsonValue

from mcp_servers.grants_gov.dates import deadline, iso, real_date
from mcp_servers.grants_gov.texts import line
from mcp_servers.kit.results import Item

PAGE_URL = "https://www.grants.gov/search-results-detail/"
FORECAST_NOTE = "forecast: get_opportunities has the estimated date"


def row(hit: Mapping[str, JsonValue], today: date, *, detailed: bool = False) -> Item:
    """One search hit with its deadline counted from ``today`` (US Eastern). Unknown values are null."""
    number = line(_first(hit, "number", "opportunityNumber", "oppNumber"))
    status = (line(_first(hit, "oppStatus", "status")) or "").lower() or None
    due = deadline(hit.get("closeDate"), today)
    note = FORECAST_NOTE if status == "forecasted" and due.kind == "none_listed" else due.note
    opportunity_id = hit_id(hit)
    more: Item = {"document_type": line(_first(hit, "docType"))} if detailed else {}
    return {
        "opportunity_id": opportunity_id,
        "opportunity_number": number,
        "title": line(_first(hit, "title", "oppTitle", "opportunityTitle")),
        "close_date": iso(due.close_date),
        "days_until_close": due.days,
        "deadline_kind": due.kind,
        "deadline_note": note,
        "status": status,
        "agency_code": line(_first(hit, "agencyCode")),
        "agency_name": line(_first(hit, "agency", "agencyName")),
        "open_date": iso(real_date(hit.get("openDate"), today)),
        "assistance_listings": [*listings(hit)],
        "url": page_url(opportunity_id),
        **more,
    }


def hit_id(hit: Mapping[str, JsonValue]) -> str | None:
    """The hit's id as digits."""
    value = _first(hit, "id", "opportunityId", "oppId")
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return text if text.isascii() and text.isdigit() else None


def hit_number(hit: Mapping[str, JsonValue]) -> str:
    """The hit's opportunity number with single spaces, for comparing."""
    value = _first(hit, "number", "opportunityNumber", "oppNumber")
    return " ".join(value.split()) if isinstance(value, str) else ""


def listings(hit: Mapping[str, JsonValue]) -> list[str]:
    """Assistance listing numbers (ALN, once CFDA)."""
    values = _first(hit, "cfdaList", "alnist", "alnList")
    found = [text for value in values if (text := line(value))] if isinstance(values, list) else []
    return list(dict.fromkeys(found))


def page_url(opportunity_id: str | None) -> str | None:
    """The opportunity's public page."""
    return None if opportunity_id is None else f"{PAGE_URL}{opportunity_id}"


def _first(hit: Mapping[str, JsonValue], *names: str) -> JsonValue:
    return next((hit[name] for name in names if hit.get(name) not in (None, "")), None)
