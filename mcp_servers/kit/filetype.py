"""What a file is, by its first bytes before by what it is said to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["pdf", "docx", "html", "text"]
"""What a ``DocumentReader`` reads."""

_SNIFFED = 4096
_MARKS: tuple[tuple[bytes, str], ...] = (
    (b"\xd0\xcf\x11\xe0", "an older Office file (.doc, .xls or .ppt), or an Office file with a password"),
    (b"{\\rtf", "an RTF document"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"II*\x00", "a picture"),
    (b"\x1f\x8b", "a packed archive"),
    (b"7z\xbc\xaf", "a packed archive"),
    (b"Rar!", "a packed archive"),
    (b"MZ", "a program"),
    (b"\x7fELF", "a program"),
)
_OFFICE: tuple[tuple[bytes, str], ...] = (
    (b"xl/workbook.", "an Excel workbook"),
    (b"ppt/presentation.xml", "a PowerPoint presentation"),
)
_TYPES: dict[str, Kind] = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/plain": "text",
    "text/markdown": "text",
    "text/csv": "text",
    "application/pdf": "pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
}
_UNSAID = frozenset({"", "application/octet-stream", "binary/octet-stream", "application/force-download"})
_FAMILIES = {"image": "a picture", "audio": "a sound", "video": "a video", "font": "a font"}
_NAMED = {"application/json": "JSON data", "application/xml": "XML data", "text/xml": "XML data",
          "application/zip": "a ZIP archive"}  # fmt: skip


@dataclass(frozen=True)
class FileType:
    """``kind`` is None for what cannot be read; ``name`` says in our words what it is ("a ZIP archive")."""

    kind: Kind | None
    name: str


_READABLE: dict[Kind, FileType] = {
    "pdf": FileType("pdf", "a PDF"),
    "docx": FileType("docx", "a Word document"),
    "html": FileType("html", "a web page"),
    "text": FileType("text", "plain text"),
}


def promised_type(media_type: str) -> FileType | None:
    """What a ``Content-Type`` (without parameters) promises; None where only the content can tell."""
    media_type = media_type.strip().lower()
    if media_type in _UNSAID:
        return None
    if kind := _TYPES.get(media_type):
        return _READABLE[kind]
    other = _NAMED.get(media_type) or _FAMILIES.get(media_type.partition("/")[0])
    return FileType(None, other or "a file of another type")


def file_type(content: bytes, media_type: str = "") -> FileType:
    """What ``content`` is. Its own marks count more than ``media_type``; an archive is not opened for it."""
    head = content[:_SNIFFED]
    if b"%PDF-" in head[:1024]:
        return _READABLE["pdf"]
    if head.startswith(b"PK\x03\x04"):
        return _zipped(content)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return FileType(None, name)
    promised = promised_type(media_type)
    if promised is not None and promised.kind not in ("pdf", "docx"):
        return promised
    if promised is not None:
        return FileType(None, "a damaged file")
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return _READABLE["html"]
    return _READABLE["text"] if head and _is_text(head) else FileType(None, "a file of an unknown type")


def _zipped(content: bytes) -> FileType:
    """The names in the archive's directory stand in it as they are."""
    if b"word/document.xml" in content:
        return _READABLE["docx"]
    for name, what in _OFFICE:
        if name in content:
            return FileType(None, what)
    return FileType(None, "a ZIP archive")


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    return not any(byte < 9 or 13 < byte < 27 for byte in head)
