"""The text of a PDF, page by page."""

from __future__ import annotations

import io
from collections.abc import Iterator

from pypdf import PasswordType, PdfReader
from pypdf.generic import Destination

from mcp_servers.kit.reader.job import Job, OutOfTime, Reading, Unreadable, one_line, tidy

MAX_OUTLINE = 60
_TOO_LITTLE = 20
"""Characters in all pages together under which a PDF counts as pictures of text."""


def read_pdf(content: bytes, job: Job) -> Reading:
    """As many pages from ``job.first_page`` on as the bounds allow. Raises Unreadable."""
    pdf = PdfReader(io.BytesIO(content), strict=False)
    if pdf.is_encrypted and pdf.decrypt("") == PasswordType.NOT_DECRYPTED:
        raise Unreadable("encrypted")
    reading = Reading(pages=len(pdf.pages))
    if not 1 <= job.first_page <= len(pdf.pages):
        raise Unreadable("no_such_page" if len(pdf.pages) else "broken")
    try:
        _read_pages(pdf, job, reading)
        reading.title = one_line(pdf.metadata.title) if pdf.metadata else None
        reading.outline = _outline(pdf)
    except OutOfTime:
        reading.stopped = True
        if not reading.sections:
            raise
    if sum(len(text) for _, text in reading.sections) < _TOO_LITTLE and not reading.stopped:
        raise Unreadable("scanned")
    return reading


def _read_pages(pdf: PdfReader, job: Job, reading: Reading) -> None:
    room, last = job.max_chars, min(len(pdf.pages), job.first_page + job.max_pages - 1)
    for number in range(job.first_page, last + 1):
        text = _page_text(pdf, number)
        if len(text) > room:
            reading.stopped = True
            return
        room -= len(text)
        if text:
            reading.sections.append((number, text))
        else:
            reading.blank.append(number)
    reading.stopped = last < len(pdf.pages)


def _page_text(pdf: PdfReader, number: int) -> str:
    try:
        return tidy(pdf.pages[number - 1].extract_text())
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - whatever one bad page makes the parser raise, the others are still wanted
        return ""


def _outline(pdf: PdfReader) -> list[tuple[str, int]]:
    try:
        found = [
            (title, number + 1)
            for entry in _flat(pdf.outline)
            if (title := one_line(str(entry.title), 120))
            and (number := pdf.get_destination_page_number(entry)) is not None
        ]
    except Exception:  # noqa: BLE001 - a PDF with a bad outline is read without one
        return []
    return found[:MAX_OUTLINE]


def _flat(entries: object) -> Iterator[Destination]:
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, Destination):
            yield entry
        else:
            yield from _flat(entry)
