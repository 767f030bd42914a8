"""Whether Grants.gov answered the question that was sent.

A key or value that it cannot read is dropped without an error, and the answer is wider than the question. Two things
betray it: the echo of the parameters (``searchParams``) and hits that contradict a filter.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import unquote_plus

from mcp_servers.grants_gov.query import SearchBody

_FILTERS = (
    "keyword",
    "oppNum",
    "cfda",
    "agencies",
    "eligibilities",
    "fundingCategories",
    "fundingInstruments",
    "oppStatuses",
    "dateRange",
    "sortBy",
)
_FREE_TEXT = ("keyword", "oppNum")  # upstream may rewrite these: only a dropped one is certain
_MISSPELT = {"fundingInstruments": "fundingIntruments"}  # upstream's own typing error
_WORD = re.compile(r"[\w*]+")
_MISSING = object()


def not_applied(body: SearchBody, params: Mapping[str, object]) -> tuple[str, ...]:
    """The keys of ``body`` that the echo shows as dropped or changed.

    Quoting, encoding, order and case of the echo are no difference.
    """
    changed = [key for key in _FILTERS if key in body and _verdict(key, body, params) == "changed"]
    start = body.get("startRecordNum")
    if start and str(params.get("startRecordNum", start)) != str(start):
        changed.append("startRecordNum")
    return tuple(changed)


def unconfirmed(body: SearchBody, params: Mapping[str, object]) -> tuple[str, ...]:
    """The keys of ``body`` that the echo leaves open."""
    return tuple(key for key in _FILTERS if key in body and _verdict(key, body, params) == "open")


def contradicted(body: SearchBody, hits: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """The keys of ``body`` that at least one hit shows to be not applied, as far as a hit can show it."""
    statuses = body.get("oppStatuses", "").split("|")
    found = []
    if any(_text(hit.get("oppStatus")).lower() not in statuses for hit in hits if _text(hit.get("oppStatus"))):
        found.append("oppStatuses")
    listing = body.get("cfda")
    if listing and any(listing.upper() not in listings for hit in hits if (listings := _listings(hit))):
        found.append("cfda")
    agencies = [part.strip('"') for part in body.get("agencies", "").split("|") if part]
    if agencies and not all(_in_agencies(_text(hit.get("agencyCode")), agencies) for hit in hits):
        found.append("agencies")
    return tuple(found)


def _verdict(key: str, body: SearchBody, params: Mapping[str, object]) -> Literal["same", "changed", "open"]:
    echoed = params.get(key) if key in params else params.get(_MISSPELT.get(key, "")) or _MISSING
    if echoed is _MISSING:
        return "open"
    words = _words(echoed)
    if words == _words(body.get(key)):
        return "same"
    return "open" if words and key in _FREE_TEXT else "changed"


def _words(value: object) -> list[str]:
    text = html.unescape(unquote_plus(str(value))) if isinstance(value, str | int) else ""
    return sorted(word.upper() for word in _WORD.findall(text))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _listings(hit: Mapping[str, object]) -> list[str]:
    values = hit.get("cfdaList") or hit.get("alnist") or ()
    return [value.upper() for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _in_agencies(code: str, agencies: Sequence[str]) -> bool:
    return not code or any(_matches(code, agency) for agency in agencies)


def _matches(code: str, agency: str) -> bool:
    return code.startswith(agency[:-1]) if agency.endswith("-*") else code == agency
