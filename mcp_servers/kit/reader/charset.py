"""Bytes of the web as text, in the manner of browsers: BOM, what is said, what the page says itself, then a guess."""

from __future__ import annotations

import codecs
import re

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{2,40})", re.IGNORECASE)
_META_WITHIN = 4096
# Python's registry also has encodings that no page means, such as unicode_escape.
_KNOWN = re.compile(r"utf-?(8|16)|iso-?8859|latin|l1$|windows-|cp12|us-ascii$|ascii$|koi8|shift|sjis|euc|gb|big5|mac")
_WIDENED = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932"}
"""Labels that browsers read as a larger set, since pages use it under the smaller one's name."""


def decoded(content: bytes, said: str = "", *, html: bool = False) -> tuple[str, bool]:
    """The text, and whether some of it could not be read (and stands as ``�``)."""
    for bom, codec in _BOMS:
        if content.startswith(bom):
            return _replacing(content[len(bom) :], codec)
    inside = _META.search(content[:_META_WITHIN]) if html else None
    label = inside[1].decode("ascii", "replace") if inside else ""
    for codec in filter(None, (_codec(said), _codec(label))):
        # A page that can say its charset in ASCII letters is not in UTF-16, whatever it says.
        return _replacing(content, "utf-8" if codec.startswith("utf-16") and inside else codec)
    try:
        return content.decode("utf-8"), False
    except UnicodeDecodeError as error:
        # A few bad bytes in UTF-8 are damage; a text that is bad from its first umlaut on is of the older charset.
        if content[: error.start].isascii():
            return _replacing(content, "cp1252")
        return _replacing(content, "utf-8")


def _codec(label: str) -> str | None:
    label = label.strip().strip("\"'").lower()
    if not _KNOWN.match(label):
        return None
    try:
        name = codecs.lookup(label).name
    except LookupError:
        return None
    return _WIDENED.get(name, name)


def _replacing(content: bytes, codec: str) -> tuple[str, bool]:
    text = content.decode(codec, "replace")
    return text, "\ufffd" in text
