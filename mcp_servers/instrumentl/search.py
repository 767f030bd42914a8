"""Word search over grants that were already read: the API has none of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from mcp_servers.instrumentl.records import Grant

_WORD = re.compile(r"\w+")
_IDLE = frozenset(
    {
        "a",
        "an",
        "and",
        "any",
        "are",
        "at",
        "by",
        "for",
        "from",
        "fund",
        "funding",
        "funds",
        "grant",
        "grants",
        "in",
        "is",
    }
    | {"of", "on", "or", "our", "that", "the", "to", "which", "with"}
)
_NAME, _LABEL, _OVERVIEW = 4, 2, 1


@dataclass(frozen=True)
class Match:
    grant: Grant
    terms: tuple[str, ...]
    score: int


@dataclass(frozen=True)
class Found:
    """Best first. ``partial``: no grant has all the words, these have some of them."""

    matches: list[Match]
    partial: bool


def terms_of(query: str) -> tuple[str, ...]:
    """The words that count, lower case, each once. A query of nothing but filler words keeps them all."""
    words = tuple(dict.fromkeys(word.lower() for word in _WORD.findall(query)))
    return tuple(word for word in words if word not in _IDLE) or words


def search(grants: Iterable[Grant], terms: Sequence[str]) -> Found:
    """Grants with every term; where there is none, those with at least one."""
    matches = [match for grant in grants if (match := _match(grant, terms)).terms]
    complete = [match for match in matches if len(match.terms) == len(terms)]
    chosen = complete or matches
    chosen.sort(key=lambda match: (-len(match.terms), -match.score, match.grant.name or "", match.grant.id))
    return Found(chosen, partial=bool(chosen) and not complete)


def narrow(
    grants: Sequence[Grant], today: date, *, geography: str | None, deadline_before: date | None, rolling: bool | None
) -> tuple[list[Grant], list[str]]:
    """What is left of ``grants``, and notices on what could not be judged.

    ``geography`` is part of an area's name in any case; a deadline counts from today to before ``deadline_before``.
    """
    kept = list(grants)
    notices: list[str] = []
    if geography is not None:
        if unplaced := sum(not grant.areas for grant in kept):
            notices.append(f"{unplaced} of them name no area and were left out by geography.")
        wanted = geography.strip().lower()
        kept = [grant for grant in kept if any(wanted in area.lower() for area in grant.areas)]
    if deadline_before is not None:
        kept = [grant for grant in kept if grant.next_deadline and today <= grant.next_deadline < deadline_before]
    if rolling is not None:
        kept = [grant for grant in kept if bool(grant.rolling) == rolling]
    return kept, notices


def _match(grant: Grant, terms: Sequence[str]) -> Match:
    labels = " ".join(entry for entries in grant.categories.values() for entry in entries)
    fields = (
        (_NAME, _words(grant.name)),
        (_LABEL, _words(grant.funder_name) | _words(labels)),
        (_OVERVIEW, _words(grant.overview)),
    )
    hit: list[str] = []
    score = 0
    for term in terms:
        weight = sum(weight for weight, words in fields if any(word.startswith(_stem(term)) for word in words))
        if weight:
            hit.append(term)
            score += weight
    return Match(grant, tuple(hit), score)


def _words(text: str | None) -> set[str]:
    return set() if text is None else {word.lower() for word in _WORD.findall(text)}


def _stem(term: str) -> str:
    """Enough to let singular and plural find each other: ``farms`` and ``farm``, ``library`` and ``libraries``."""
    if len(term) > 4 and term.endswith(("ies", "y")):
        return term.removesuffix("ies").removesuffix("y")
    return term[:-1] if len(term) > 3 and term.endswith("s") and not term.endswith("ss") else term
