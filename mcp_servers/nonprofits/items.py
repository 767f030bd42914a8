"""What a model gets to see of the API's rows. A figure that is not known is null, never 0."""

from __future__ import annotations

from pydantic import JsonValue

from mcp_servers.kit.results import Item

from .client import Record, Row

PAGE = "https://projects.propublica.org/nonprofits/organizations"
FORMS = {0: "990", 1: "990-EZ", 2: "990-PF"}
_FIGURES = {
    "revenue": "totrevenue",
    "expenses": "totfuncexpns",
    "assets": "totassetsend",
    "liabilities": "totliabend",
    "net_assets": "totnetassetend",
    "contributions": "totcntrbgfts",
    "program_revenue": "totprgmrevnue",
    "investment_income": "invstmntinc",
    "other_salaries": "othrsalwages",
    "fundraising_fees": "profndraising",
}


def ein_text(ein: JsonValue) -> str | None:
    """``530196605`` → ``53-0196605``, leading zeros put back."""
    if not isinstance(ein, int) or not 0 < ein <= 999_999_999:
        return None
    digits = f"{ein:09d}"
    return f"{digits[:2]}-{digits[2:]}"


def hit_item(row: Row) -> Item:
    """One hit of a search."""
    return {
        "ein": ein_text(row.get("ein")),
        "name": _text(row, "name"),
        "other_name": _text(row, "sub_name"),
        "city": _text(row, "city"),
        "state": _text(row, "state"),
        "ntee_code": _text(row, "ntee_code"),
        "subsection": _number(row, "subseccd"),
        "url": _page(row.get("ein")),
    }


def organization_item(record: Record) -> Item:
    """One organization with its latest figures."""
    row = record.organization
    filings = filing_items(record)
    latest = next((item for item in filings if item["has_figures"]), None)
    return {
        "ein": ein_text(row.get("ein") or row.get("id")),
        "name": _text(row, "name"),
        "address": ", ".join(part for key in ("address", "city", "state", "zipcode") if (part := _text(row, key)))
        or None,
        "ntee_code": _text(row, "ntee_code"),
        "subsection": _number(row, "subsection_code"),
        "tax_exempt_since": _text(row, "ruling_date"),
        "master_file": {
            "assets": _number(row, "asset_amount"),
            "income": _number(row, "income_amount"),
            "revenue": _number(row, "revenue_amount"),
        },
        "latest_filing": latest,
        "filings": len(filings),
        "url": _page(row.get("ein") or row.get("id")),
    }


def filing_items(record: Record) -> list[Item]:
    """Every filing, the newest first. One whose figures are not in the data has its link alone."""
    items = [_filing(row, figures=True) for row in record.filings]
    items += [_filing(row, figures=False) for row in record.scans]
    return sorted(items, key=lambda item: (str(item["tax_year"] or ""), bool(item["has_figures"])), reverse=True)


def _filing(row: Row, *, figures: bool) -> Item:
    kind = _number(row, "formtype")
    item: Item = {
        "tax_year": _number(row, "tax_prd_yr"),
        "period_end": _month(row.get("tax_prd")),
        "form": _text(row, "formtype_str") or (FORMS.get(kind) if kind is not None else None),
        "has_figures": figures,
        "pdf_url": _text(row, "pdf_url"),
    }
    if figures:
        item |= {name: _number(row, key) for name, key in _FIGURES.items()}
        # A foundation's form (990-PF) has another field for it.
        item["officer_pay"] = _number(row, "compofficers" if kind == 2 else "compnsatncurrofcr")
    return item


def _month(period: JsonValue) -> str | None:
    """``202212`` → ``2022-12``."""
    digits = str(period)
    return f"{digits[:4]}-{digits[4:]}" if digits.isdigit() and len(digits) == 6 else None


def _page(ein: JsonValue) -> str | None:
    return f"{PAGE}/{ein}" if isinstance(ein, int) and ein > 0 else None


def _text(row: Row, key: str) -> str | None:
    value = row.get(key)
    return value.strip() or None if isinstance(value, str) else None


def _number(row: Row, key: str) -> int | None:
    value = row.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
