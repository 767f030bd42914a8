"""The demo upstream's sample opportunities, and which of them a search asks for: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter

MARK = "SAMPLE"

_TOKEN = re.compile(r'"[^"]*"|[()]|[^\s()"]+')


class Sample(BaseModel):
    """One sample opportunity. ``opened``, ``closes`` and ``estimated_close`` are days from today."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: int
    number: str
    agency: str
    title: str
    opened: int
    closes: int | None
    status: str = "posted"
    estimated_close: int | None = None
    listing: str
    eligibilities: tuple[str, ...]
    categories: tuple[str, ...]
    instruments: tuple[str, ...]
    ceiling: str | None
    floor: str | None
    total: str | None
    awards: str | None
    description: str
    who: str
    cost_sharing: bool = False
    deadline_text: str = ""

    @property
    def marked_title(self) -> str:
        return f"{MARK}: {self.title}"

    @property
    def agency_name(self) -> str:
        return f"{MARK} agency {self.agency}"

    @property
    def is_forecast(self) -> bool:
        return self.status == "forecasted"

    @property
    def words(self) -> str:
        return f"{self.title} {self.number} {self.description} {self.agency}".lower()


def load_samples() -> tuple[Sample, ...]:
    """The samples of the data file beside this module."""
    stored = files("open_persona.demo").joinpath("samples.json").read_text(encoding="utf-8")
    return TypeAdapter(tuple[Sample, ...]).validate_json(stored)


def matches(sample: Sample, params: Mapping[str, JsonValue]) -> bool:
    """Whether a search2 body asks for ``sample``, its status aside."""
    recent = text(params, "dateRange")
    return (
        _any(params, "eligibilities", sample.eligibilities)
        and _any(params, "fundingCategories", sample.categories)
        and _any(params, "fundingInstruments", sample.instruments)
        and _any(params, "cfda", (sample.listing,))
        and _in_agencies(text(params, "agencies"), sample.agency)
        and text(params, "oppNum").strip('"') in ("", sample.number)
        and (not recent.isdigit() or sample.opened >= -int(recent))
        and has_keyword(text(params, "keyword"), sample.words)
    )


def text(params: Mapping[str, JsonValue], name: str) -> str:
    """The parameter ``name`` where it is text, else nothing."""
    value = params.get(name)
    return value if isinstance(value, str) else ""


def has_keyword(keyword: str, words: str) -> bool:
    """Whether ``words`` (lower case) satisfy a keyword with AND, OR, NOT, quotes, parentheses and a trailing ``*``."""
    tokens = _TOKEN.findall(keyword)
    return not tokens or _either(tokens, words)


def _either(tokens: list[str], words: str) -> bool:
    found = _all(tokens, words)
    while tokens and tokens[0] != ")":
        if tokens[0] == "OR":
            tokens.pop(0)
        right = _all(tokens, words)  # adjacent terms are alternatives, as upstream
        found = found or right
    return found


def _all(tokens: list[str], words: str) -> bool:
    found = _one(tokens, words)
    while tokens and tokens[0] == "AND":
        tokens.pop(0)
        right = _one(tokens, words)
        found = found and right
    return found


def _one(tokens: list[str], words: str) -> bool:
    if not tokens or tokens[0] == ")":
        return False
    part = tokens.pop(0)
    if part == "NOT":
        return not _one(tokens, words)
    if part == "(":
        found = _either(tokens, words)
        if tokens:
            tokens.pop(0)
        return found
    term = part.strip('"').lower()
    end = "" if term.endswith("*") else r"\b"
    return re.search(rf"\b{re.escape(term.rstrip('*'))}{end}", words) is not None


def _any(params: Mapping[str, JsonValue], name: str, values: Sequence[str]) -> bool:
    wanted = text(params, name)
    return not wanted or bool(set(wanted.split("|")) & set(values))


def _in_agencies(wanted: str, agency: str) -> bool:
    parts = [part.strip('"') for part in wanted.split("|") if part]
    return not parts or any(agency.startswith(part[:-1]) if part.endswith("-*") else agency == part for part in parts)
