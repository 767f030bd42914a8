"""Agency-written text as plain text: quoted data, whatever it says."""

from __future__ import annotations

import html

from mcp_servers.kit.text import html_to_text, shorten

LINE_CHARS = 300

_UNSAID = frozenset({"", "undefined", "null", "none", "n/a"})


def line(value: object, longest: int = LINE_CHARS) -> str | None:
    """One line, entities resolved; None for a blank and for a literal ``undefined``, ``none`` or ``N/A``."""
    if not isinstance(value, str):
        return None
    text = " ".join(html.unescape(html.unescape(value)).split())
    return None if text.lower() in _UNSAID else shorten(text, longest)


def block(value: object, longest: int) -> tuple[str | None, bool]:
    """Text of several lines from HTML or plain text in at most ``longest`` characters, and whether it was cut."""
    if not isinstance(value, str):
        return None, False
    text = html_to_text(value)
    if text.lower() in _UNSAID:
        return None, False
    return shorten(text, longest), len(text) > longest
