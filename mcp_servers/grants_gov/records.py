"""A ``fetchOpportunity`` answer as a record: pure. Unknown stays null; a number is never made up.

Amounts, texts and codes stand in the block that ``docType`` names. A posted record often keeps the forecast that it
began as, with other amounts: that block is never read. ``opportunityHistoryDetails`` can be 97 % of an answer and is
dropped, only the number of past revisions is kept. Field paths were observed on 2026-09-24.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from pydantic import JsonValue

from mcp_servers.grants_gov.dates import deadline, iso, real_date
from mcp_servers.grants_gov.rows import page_url
from mcp_servers.grants_gov.texts import block, line
from mcp_servers.kit.results import Item, compact_json

Block = Literal["synopsis", "forecast"]
Data = Mapping[str, JsonValue]

DOWNLOAD_URL = "https://apply07.grants.gov/grantsws/rest/opportunity/att/download/"
MAX_PACKAGES = 10
NARRATIVE_CHARS = 6000


@dataclass(frozen=True)
class Detail:
    """How much of a record is kept: characters of a text, number of attachments."""

    text_chars: int
    attachments: int


CONCISE = Detail(6000, 20)
DETAILED = Detail(12000, 30)
_SMALLER = (Detail(3000, 10), Detail(1500, 6), Detail(700, 4), Detail(300, 2))

_AMOUNT = re.compile(r"^\$?([0-9]{1,15}|[0-9]{1,3}(?:,[0-9]{3}){1,4})(?:\.([0-9]{1,2}))?$")
_MONEY = {
    "award_ceiling_usd": "awardCeiling",
    "award_floor_usd": "awardFloor",
    "estimated_total_funding_usd": "estimatedFunding",
    "expected_awards": "numberOfAwards",
}
_ESTIMATES = {
    "estimated_posting_date": "estSynopsisPostingDateStr",
    "estimated_close_date": "estApplicationResponseDateStr",
    "estimated_award_date": "estAwardDateStr",
    "estimated_project_start_date": "estProjectStartDateStr",
}


def fitting_records(
    records: Sequence[Data], today: date, *, detailed: bool, max_bytes: int
) -> tuple[list[Item], list[str]]:
    """All records, with texts shortened evenly until they fit ``max_bytes`` of JSON, and a notice if they were."""
    levels = (DETAILED, CONCISE, *_SMALLER) if detailed else (CONCISE, *_SMALLER)
    for level in levels:
        items = [record(data, today, level) for data in records]
        if len(compact_json(items).encode()) <= max_bytes:
            break
    if level is levels[0]:
        return items, []
    how = f"Texts are cut at {level.text_chars} characters and attachments at {level.attachments} to keep this small"
    return items, [f"{how}: read one opportunity at a time, with response_format detailed, for more."]


def record(data: Data, today: date, detail: Detail = CONCISE) -> Item:
    """The record in ``data`` (the ``data`` of an answer that has an ``id``), dates counted from ``today``.

    The eligibility text has at most 6000 characters whatever ``detail`` says.
    """
    kind = block_name(data)
    body = _mapping(data.get(kind)) if kind else {}
    number = data.get("id")
    opportunity_id = str(number) if isinstance(number, int | str) else None
    return {
        "opportunity_id": opportunity_id,
        "opportunity_number": line(data.get("opportunityNumber")),
        "title": line(data.get("opportunityTitle")),
        "status": (line(data.get("ost")) or "").lower() or None,
        "document_type": kind,
        "url": page_url(opportunity_id),
        **_agency(data),
        **_deadline(data, body, kind, today),
        **_dates(body, today),
        **_money(body, kind),
        **_codes(body),
        "assistance_listings": _each(data.get("cfdas"), _listing),
        **_texts(body, kind, detail.text_chars),
        "contact": _contact(body),
        "more_information_url": line(body.get("fundingDescLinkUrl"), 500),
        **_attachments(data, detail.attachments),
        **_packages(data, today),
        "past_revision_count": _count(data.get("synopsisHistCount")) + _count(data.get("forecastHistCount")),
    }


def block_name(data: Data) -> Block | None:
    """The block that holds: what ``docType`` says, if it is there; without a ``docType`` the one that is there."""
    said = line(data.get("docType"))
    if said in ("synopsis", "forecast"):
        name: Block = "synopsis" if said == "synopsis" else "forecast"
        return name if isinstance(data.get(name), dict) else None
    if isinstance(data.get("synopsis"), dict):
        return "synopsis"
    return "forecast" if isinstance(data.get("forecast"), dict) else None


def amount(value: JsonValue) -> int | float | None:
    """Dollars or a count as listed; null for ``none``, blanks and whatever is no number. A listed 0 stays 0."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    match = _AMOUNT.match(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    whole, cents = int(match[1].replace(",", "")), (match[2] or "").rstrip("0")
    return float(f"{whole}.{cents}") if cents else whole


def _agency(data: Data) -> Item:
    own, top = _mapping(data.get("agencyDetails")), _mapping(data.get("topAgencyDetails"))
    top_name = line(top.get("agencyName"))
    name = line(own.get("agencyName"))
    return {
        "agency_code": line(own.get("agencyCode")) or line(data.get("owningAgencyCode")),
        "agency_name": name,
        "top_agency_name": None if top_name == name else top_name,
        "category": line(_mapping(data.get("opportunityCategory")).get("description")),
    }


def _deadline(data: Data, body: Data, kind: Block | None, today: date) -> Item:
    forecast = kind == "forecast"
    due = deadline(body.get("estApplicationResponseDateStr" if forecast else "responseDateStr"), today)
    said = line(body.get("estApplicationResponseDateDesc" if forecast else "responseDateDesc"), 1000)
    original = real_date(data.get("originalDueDate"), today)
    return {
        "close_date": iso(due.close_date),
        "days_until_close": due.days,
        "deadline_kind": due.kind,
        "deadline_is_estimate": forecast,
        "deadline_note": "estimate of the agency, may change" if forecast and due.kind == "fixed" else due.note,
        "deadline_explanation": said,
        "original_close_date": iso(original) if due.kind == "fixed" and original != due.close_date else None,
        "forecast_estimates": _estimates(body, today) if forecast else None,
    }


def _estimates(body: Data, today: date) -> Item:
    year = body.get("fiscalYear")
    dates: Item = {name: iso(real_date(body.get(key), today)) for name, key in _ESTIMATES.items()}
    return {**dates, "fiscal_year": year if isinstance(year, int) and not isinstance(year, bool) else None}


def _dates(body: Data, today: date) -> Item:
    return {
        "posted_date": iso(real_date(body.get("postingDateStr"), today)),
        "archive_date": iso(real_date(body.get("archiveDateStr"), today)),
        "last_updated": iso(real_date(body.get("lastUpdatedDate"), today)),
    }


def _money(body: Data, kind: Block | None) -> Item:
    amounts: Item = {name: amount(body.get(key)) for name, key in _MONEY.items()}
    zeros = [name for name, value in amounts.items() if value == 0 and value is not None]
    note = f"{', '.join(zeros)}: listed as 0 by the agency, which need not mean that nothing is awarded"
    sharing = body.get("costSharing")
    return {
        **amounts,
        "amounts_note": note if zeros else None,
        "money_source": kind,
        "cost_sharing_required": sharing if isinstance(sharing, bool) else None,
    }


def _codes(body: Data) -> Item:
    return {
        "applicant_types": _each(body.get("applicantTypes"), _code),
        "funding_instruments": _each(body.get("fundingInstruments"), _code),
        "funding_categories": _each(body.get("fundingActivityCategories"), _code),
        "category_explanation": line(body.get("fundingActivityCategoryDesc"), 2000),
    }


def _texts(body: Data, kind: Block | None, text_chars: int) -> Item:
    description, cut = block(body.get("forecastDesc" if kind == "forecast" else "synopsisDesc"), text_chars)
    eligibility, eligibility_cut = block(body.get("applicantEligibilityDesc"), min(text_chars, NARRATIVE_CHARS))
    return {
        "eligibility_text": eligibility,
        "eligibility_text_cut": eligibility_cut,
        "description": description,
        "description_cut": cut,
    }


def _contact(body: Data) -> Item | None:
    contact: Item = {
        "name": line(body.get("agencyContactName")),
        "email": line(body.get("agencyContactEmail")),
        "phone": line(body.get("agencyContactPhone")),
        "details": line(body.get("agencyContactDesc"), 500),
    }
    return contact if any(contact.values()) else None


def _attachments(data: Data, most: int) -> Item:
    found: list[JsonValue] = [
        entry
        for folder in _mappings(data.get("synopsisAttachmentFolders"))
        for file in _mappings(folder.get("synopsisAttachments"))
        if (entry := _attachment(file, line(folder.get("folderType"))))
    ]
    return {"attachments": found[:most], "attachment_count": len(found)}


def _attachment(file: Data, folder: str | None) -> Item | None:
    number = file.get("id")
    if not isinstance(number, int) or isinstance(number, bool) or number <= 0:
        return None
    size = file.get("fileLobSize")
    return {
        "attachment_id": number,
        "folder": folder,
        "file_name": line(file.get("fileName")),
        "description": line(file.get("fileDescription")),
        "mime_type": line(file.get("mimeType")),
        "size_bytes": size if isinstance(size, int) and not isinstance(size, bool) else None,
        "url": f"{DOWNLOAD_URL}{number}",
    }


def _packages(data: Data, today: date) -> Item:
    packages = _mappings(data.get("opportunityPkgs"))
    found: list[JsonValue] = [
        {
            "package_id": line(package.get("packageId")),
            "competition_id": line(package.get("competitionId")),
            "competition_title": line(package.get("competitionTitle")),
            "opening_date": iso(real_date(package.get("openingDate"), today)),
            "closing_date": iso(real_date(package.get("closingDate"), today)),
        }
        for package in packages[:MAX_PACKAGES]
    ]
    return {"packages": found, "package_count": len(packages)}


def _listing(entry: Data) -> Item | None:
    number = line(entry.get("cfdaNumber"))
    return {"number": number, "title": line(entry.get("programTitle"))} if number else None


def _code(entry: Data) -> Item | None:
    code = line(entry.get("id"))
    return {"code": code, "label": line(entry.get("description"))} if code else None


def _each(value: JsonValue, read: Callable[[Data], Item | None]) -> JsonValue:
    return [entry for part in _mappings(value) if (entry := read(part))]


def _mapping(value: JsonValue) -> Data:
    return value if isinstance(value, dict) else {}


def _mappings(value: JsonValue) -> list[Data]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _count(value: JsonValue) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
