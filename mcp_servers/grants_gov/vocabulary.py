"""What ``list_codes`` and the facets of a search show: pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import JsonValue

from mcp_servers.grants_gov.codes import Code, Topic, Vocabulary
from mcp_servers.kit.results import Item

MAX_ENTRIES = 100
MAX_FACETS = 12

_FACETS: tuple[Topic, ...] = ("statuses", "agencies", "eligibilities", "funding_categories", "funding_instruments")


def matching(entries: Sequence[Code], name_contains: str | None, *, topic: Topic) -> tuple[Code, ...]:
    """Entries whose code or label has every word of ``name_contains``; without it, all but the sub-agencies."""
    if name_contains is None:
        return tuple(entry for entry in entries if topic != "agencies" or entry.parent is None)
    words = _words(name_contains)
    return tuple(entry for entry in entries if words and all(word in _searched(entry) for word in words))


def entry_item(entry: Code, topic: Topic) -> Item:
    """One code; ``opportunities`` counts all statuses and is null where it is not known."""
    item: Item = {"code": entry.code, "label": entry.label}
    if topic == "agencies":
        item["parent"] = entry.parent
    if topic != "sorts":
        item["opportunities"] = entry.count
    return item


def facet_items(facets: Vocabulary) -> Item:
    """The commonest values of each filter among the matches, for narrowing a search."""
    shown: Item = {}
    for topic in _FACETS:
        counted = [entry for entry in facets.topics.get(topic, ()) if entry.count and entry.parent is None]
        counted.sort(key=lambda entry: -(entry.count or 0))
        values: list[JsonValue] = [
            {"code": entry.code, "label": entry.label, "count": entry.count} for entry in counted[:MAX_FACETS]
        ]
        shown[topic] = values
    return shown


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _searched(entry: Code) -> str:
    return " ".join(_words(f"{entry.code} {entry.label}"))
