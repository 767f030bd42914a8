"""Long texts in pieces that fit an answer."""

from __future__ import annotations

from mcp_servers.kit.results import compact_json

PASSAGE_BYTES = 18_000
"""Of one piece as JSON: with its envelope it stays under the default size of an answer."""

_BREAKS = ("\n\n", "\n", ". ", " ")
_NEAR = 0.75


def passage_end(text: str, start: int, *, max_bytes: int = PASSAGE_BYTES) -> int:
    """Where the piece of ``text`` that begins at ``start`` ends: after a paragraph, line, sentence or word if one
    ends in its last quarter, and never further than ``max_bytes`` of JSON. Past ``start`` unless the text is at its
    end.
    """
    end = _fitting(text, start, max_bytes)
    if end >= len(text):
        return len(text)
    for mark in _BREAKS:
        found = text.rfind(mark, start + int((end - start) * _NEAR), end)
        if found > start:
            return found + len(mark)
    return end


def _fitting(text: str, start: int, max_bytes: int) -> int:
    """The most characters from ``start`` whose JSON is at most ``max_bytes``, but at least one."""
    low, high = start + 1, min(len(text), start + max_bytes)
    while low < high:
        middle = (low + high + 1) // 2
        if len(compact_json(text[start:middle]).encode()) <= max_bytes:
            low = middle
        else:
            high = middle - 1
    return min(low, len(text))
