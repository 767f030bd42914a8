"""HTML of an upstream as plain text for a model."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

_BLOCK = re.compile(
    r"address|article|aside|blockquote|br|d[dlt]|div|footer|form|h[1-6r]|header|li|main|[ou]l|p|pre|section|t(able|body|foot|head|r)"
)
_SILENT = frozenset({"script", "style", "head", "template", "noscript"})
_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]+);")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class _Plain(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in _SILENT:
            self._silent += 1
        elif tag == "li":
            self.parts.append("\n- ")
        elif tag in {"td", "th"}:
            self.parts.append(" ")
        elif _BLOCK.fullmatch(tag):
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif _BLOCK.fullmatch(tag) and tag not in {"br", "hr", "li"}:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)


def html_to_text(value: str) -> str:
    """Tags gone, entities resolved (also ones that were escaped twice), list items as ``- ``, blank lines folded."""
    parser = _Plain()
    parser.feed(value)
    parser.close()
    plain = "".join(parser.parts)
    if _ENTITY.search(plain):
        plain = html.unescape(plain)
    plain = _CONTROL.sub("", plain.replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " "))
    lines = [re.sub(r"[ \t]+", " ", line).strip() for line in plain.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def shorten(value: str, longest: int) -> str:
    """``value`` in at most ``longest`` characters, cut at a word where one is near, with ``…``."""
    if len(value) <= longest:
        return value
    head = value[: longest - 1]
    space = head.rfind(" ")
    if space > longest * 0.7:
        head = head[:space]
    return head.rstrip() + "…"
