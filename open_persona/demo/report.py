"""A tool's result in words: the items of a JSON answer as a list, any other text as it is, cut to a screenful. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from pydantic import JsonValue

ITEMS_SHOWN = 5
LINES_SHOWN = 14
LINE_LENGTH = 200
TITLES = ("title", "name", "project_title", "label", "description", "code")
DETAILS = (
    "number",
    "opportunity_number",
    "id",
    "agency",
    "funder",
    "status",
    "close_date",
    "deadline",
    "next_deadline",
    "date",
    "url",
)
NOTICES = ("notice", "notices", "message", "warning", "next_step")


def report(result: str) -> str:
    """One tool result, readable. An error result is given as the server words it."""
    document = _parsed(result)
    if document is None:
        return _as_text(result)
    lines = [f"Note: {notice}" for notice in _notices(document)]
    items = _first_items(document)
    if items is None:
        return "\n".join([*lines, _as_text(json.dumps(document, ensure_ascii=False, indent=1))])
    lines += [f"{n}. {_line(item)}" for n, item in enumerate(items[:ITEMS_SHOWN], 1)]
    if len(items) > ITEMS_SHOWN:
        lines.append(f"... and {len(items) - ITEMS_SHOWN} more.")
    return "\n".join(lines) if items else "\n".join([*lines, "It found nothing."])


def _parsed(result: str) -> JsonValue:
    """The JSON document in the result, with or without words around it."""
    start = re.search(r"[\[{]", result)
    if start is None:
        return None
    try:
        document: JsonValue = json.JSONDecoder().raw_decode(result[start.start() :])[0]
    except ValueError:
        return None
    return document if isinstance(document, dict | list) else None


def _as_text(result: str) -> str:
    lines = [line[:LINE_LENGTH] for line in result.strip().splitlines()]
    shown = lines[:LINES_SHOWN]
    return "\n".join([*shown, f"... and {len(lines) - len(shown)} more lines."] if len(lines) > len(shown) else shown)


def _first_items(document: JsonValue) -> list[JsonValue] | None:
    """The first list of objects in the document, else the first empty list."""
    found = list(_lists(document))
    full = [items for items in found if items and isinstance(items[0], dict)]
    return full[0] if full else next((items for items in found if not items), None)


def _lists(document: JsonValue) -> Iterator[list[JsonValue]]:
    if isinstance(document, list):
        yield document
    elif isinstance(document, dict):
        for value in document.values():
            yield from _lists(value)


def _notices(document: JsonValue) -> list[str]:
    if not isinstance(document, dict):
        return []
    found: list[str] = []
    for name in NOTICES:
        value = document.get(name)
        found += (
            [value]
            if isinstance(value, str)
            else [text for text in value if isinstance(text, str)]
            if isinstance(value, list)
            else []
        )
    return [text[:LINE_LENGTH] for text in found]


def _line(item: JsonValue) -> str:
    if not isinstance(item, dict):
        return str(item)[:LINE_LENGTH]
    title = next((_short(item[name]) for name in TITLES if item.get(name)), "(no title)")
    details = [f"{name.replace('_', ' ')} {_short(item[name])}" for name in DETAILS if item.get(name)]
    return f"{title} ({'; '.join(details[:4])})" if details else title


def _short(value: JsonValue) -> str:
    if isinstance(value, dict):
        value = next((inner for inner in value.values() if isinstance(inner, str) and inner), "")
    return str(value)[:LINE_LENGTH]
