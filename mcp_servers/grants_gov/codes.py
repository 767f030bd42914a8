"""The codes that Grants.gov's filters take: the fixed tables, and the live vocabulary of agencies.

The tables come from Grants.gov's status-codes page; upstream compares codes exactly (``hl`` and ``7`` match nothing),
so every value is normalised and checked before it is sent. Agencies are not in any table: a search's facets list them.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Literal, cast

from mcp_servers.kit.errors import InvalidArgument

Topic = Literal["agencies", "eligibilities", "funding_categories", "funding_instruments", "statuses", "sorts"]

_TABLES = cast(
    "dict[str, dict[str, str]]",
    json.loads(files("mcp_servers.grants_gov").joinpath("codes.json").read_text(encoding="utf-8")),
)
UNRESTRICTED = "99"
_AGENCY = re.compile(r"^[A-Z0-9](?:[A-Z0-9 -]*[A-Z0-9])?$")
_ALN = re.compile(r"^\d{2}\.[0-9A-Z]{3}$")


@dataclass(frozen=True)
class Code:
    """One value of a filter. Counts are opportunities of all four statuses, null when unknown."""

    code: str
    label: str
    parent: str | None = None
    count: int | None = None


@dataclass(frozen=True)
class Vocabulary:
    """The codes that at least one opportunity carries, as the facets of a search over all statuses list them."""

    topics: Mapping[str, tuple[Code, ...]] = field(default_factory=dict)

    def codes(self, topic: Topic) -> tuple[Code, ...]:
        """The codes of one topic: live ones, with those of the fixed table that are not in use."""
        live = self.topics.get(topic, ())
        known = {entry.code for entry in live}
        rest = [Code(code, label) for code, label in table(topic).items() if code not in known]
        return tuple(sorted((*live, *rest), key=lambda entry: entry.code)) if live else tuple(rest)


def table(topic: Topic) -> Mapping[str, str]:
    """The fixed table of ``topic``: code to label; empty for agencies."""
    return _TABLES.get(topic, {})


def read_facets(data: Mapping[str, object]) -> Vocabulary:
    """The vocabulary in a search answer's facets. Anything that is not in the recorded shape is left out."""
    topics: dict[str, tuple[Code, ...]] = {"agencies": _agencies(data.get("agencies"))}
    for topic, key in (
        ("eligibilities", "eligibilities"),
        ("funding_categories", "fundingCategories"),
        ("funding_instruments", "fundingInstruments"),
        ("statuses", "oppStatusOptions"),
    ):
        topics[topic] = tuple(_entries(data.get(key)))
    return Vocabulary(topics)


def _entries(options: object, parent: str | None = None) -> Iterable[Code]:
    for option in options if isinstance(options, list) else ():
        if isinstance(option, dict) and isinstance(option.get("value"), str) and option["value"].strip():
            code, count = option["value"].strip(), option.get("count")
            label = " ".join(str(option.get("label") or code).split())
            yield Code(code, label, parent, count if isinstance(count, int) else None)


def _agencies(options: object) -> tuple[Code, ...]:
    tops = {entry.code: entry for entry in _entries(options)}
    found = dict(tops)
    for option in options if isinstance(options, list) else ():
        parent = str(option.get("value", "")).strip() if isinstance(option, dict) else ""
        for entry in _entries(option.get("subAgencyOptions"), parent) if parent in tops else ():
            found.setdefault(entry.code, entry)  # some agencies list themselves below themselves
    return tuple(found.values())


def status(value: str) -> str:
    """One of forecasted, posted, closed, archived. Raises InvalidArgument."""
    return _from_table("statuses", "statuses", value.strip().lower())


def sort(value: str) -> str:
    """One of the sorts; ``openDate|desc`` is read as ``open_date_desc``. Raises InvalidArgument."""
    spelled = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", value.strip()).lower().replace("|", "_").replace("opp_num", "number")
    return _from_table("sorts", "sort", spelled)


def eligibility(value: str) -> str:
    """A two-digit applicant code; ``7`` is read as ``07``. Raises InvalidArgument."""
    return _from_table("eligibilities", "eligibilities", value.strip().zfill(2))


def instrument(value: str) -> str:
    """G, CA, PC or O. Raises InvalidArgument."""
    return _from_table("funding_instruments", "funding_instruments", value.strip().upper())


def category(value: str, vocabulary: Vocabulary | None = None) -> str:
    """A category of the table or, for one that is newer than it, of the live vocabulary. Raises InvalidArgument."""
    code = value.strip().upper()
    if vocabulary and any(entry.code == code for entry in vocabulary.topics.get("funding_categories", ())):
        return code
    return _from_table("funding_categories", "funding_categories", code)


def assistance_listing(value: str) -> str:
    """``93.224`` from ``93224``, ``ALN 93.224`` or ``CFDA 93.224``. Raises InvalidArgument."""
    code = re.sub(r"^(ALN|CFDA)[ :#]*", "", value.strip().upper())
    if re.fullmatch(r"\d{2}[0-9A-Z]{3}", code):
        code = f"{code[:2]}.{code[2:]}"
    if not _ALN.match(code):
        raise InvalidArgument(
            "assistance_listing",
            f"{value[:40]!r} is not an assistance listing number",
            what_to_do="Give one number such as 93.224.",
        )
    return code


def opportunity_number(value: str, field_name: str = "opportunity_number") -> str:
    """The number as given, trimmed; one that cannot be quoted is refused. Raises InvalidArgument."""
    number = " ".join(value.split())
    if not number or len(number) > 100 or not number.isprintable() or '"' in number or "\\" in number:
        raise InvalidArgument(
            field_name,
            f"{value[:40]!r} is not an opportunity number",
            what_to_do="Give it exactly as published, such as HRSA-27-005.",
        )
    return number


def agency(value: str, vocabulary: Vocabulary | None = None) -> str:
    """An agency's code in upper case: a known one, or a prefix of known ones. Raises InvalidArgument.

    Without a vocabulary only its form is checked.
    """
    code = " ".join(value.upper().split())
    known = [entry.code for entry in vocabulary.topics.get("agencies", ())] if vocabulary else []
    is_known = not known or code in known or any(_below(other, code) for other in known)
    if not _AGENCY.match(code) or not is_known:
        raise InvalidArgument(
            "agencies",
            f"{value[:40]!r} is not an agency code{_suggest(code, known)}",
            what_to_do="Call list_codes with topic agencies and name_contains set to a word of the agency's name.",
        )
    return code


def agency_filter(codes: Iterable[str], vocabulary: Vocabulary | None = None) -> str:
    """The pipe-joined value that finds each agency with all that is below it.

    A bare parent matches only what is filed at exactly that code, so ``CODE-*`` is added (never ``CODE*``: USDA-FS is
    no parent of USDA-FSA). Codes with spaces must be quoted, and a quoted code takes no wildcard, so whatever is below
    one, or below a parent but not matched by ``CODE-*``, is listed by name.
    """
    known = [entry.code for entry in vocabulary.topics.get("agencies", ())] if vocabulary else []
    parts: list[str] = []
    for code in codes:
        spaced = " " in code
        parts.append(f'"{code}"' if spaced else code)
        if not spaced:
            parts.append(f"{code}-*")
        below = (other for other in known if _below(other, code) and " " in (code + other))
        parts += [f'"{other}"' for other in below]
    return "|".join(dict.fromkeys(parts))


def _below(code: str, parent: str) -> bool:
    return code.startswith(parent) and re.match(r" *-.", code[len(parent) :]) is not None


def _from_table(topic: Topic, field_name: str, code: str) -> str:
    known = table(topic)
    if code in known:
        return code
    valid = ", ".join(known) if len(known) <= 17 else f"one of {len(known)} codes{_suggest(code, known)}"
    raise InvalidArgument(
        field_name,
        f"{code[:40]!r} is unknown; valid: {valid}",
        what_to_do=f"Call list_codes with topic {topic} for the codes and their meaning.",
    )


def _suggest(code: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(code, list(known), n=3, cutoff=0.6)
    return f" (near: {', '.join(near)})" if near else ""
