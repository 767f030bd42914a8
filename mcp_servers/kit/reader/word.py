"""The text of a Word document: headings, lists and tables as light markdown.

python-docx opens the file and knows its styles. The body is walked here, since python-docx leaves out what stands in
content controls and text boxes, where agencies' forms have most of their words.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator

import docx
from docx.document import Document
from docx.oxml.ns import qn
from lxml import etree

from mcp_servers.kit.reader.job import Job, OutOfTime, Reading, Unreadable, one_line, tidy

MAX_PARTS = 5000
MAX_UNPACKED = 100 * 1024 * 1024

_PARAGRAPH, _TABLE, _ROW, _CELL = qn("w:p"), qn("w:tbl"), qn("w:tr"), qn("w:tc")
_DELETED = qn("w:del")
_WORDS = qn("w:t")
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_BREAKS = {qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:tab"): " ", qn("w:noBreakHyphen"): "-"}
_HEADING = re.compile(r"heading ([1-6])$")


def read_docx(content: bytes, job: Job) -> Reading:
    """The whole body, or what of it was read when time or room ended. Raises Unreadable."""
    _check_size(content)
    document = docx.Document(io.BytesIO(content))
    lines: list[str] = []
    reading = Reading(title=one_line(document.core_properties.title))
    room = job.max_chars
    try:
        for line in _lines(document):
            room -= len(line)
            if room < 0:
                reading.stopped = True
                break
            lines.append(line)
    except OutOfTime:
        reading.stopped = True
        if not lines:
            raise
    text = tidy("\n\n".join(lines).replace("|\n\n|", "|\n|"))
    if not text:
        raise Unreadable("scanned")
    reading.sections.append((0, text))
    return reading


def _check_size(content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = archive.infolist()
    if any(part.flag_bits & 1 for part in parts):
        raise Unreadable("encrypted")
    if len(parts) > MAX_PARTS or sum(part.file_size for part in parts) > MAX_UNPACKED:
        raise Unreadable("too_big")


def _lines(document: Document) -> Iterator[str]:
    styles = {style.style_id: (style.name or "").lower() for style in document.styles}
    body = document.element.body
    for tag in (_FALLBACK, _DELETED):
        for twin in list(body.iter(tag)):
            twin.getparent().remove(twin)
    for block in _blocks(body):
        if block.tag == _TABLE:
            yield from _table(block)
        elif text := _text(block):
            yield _marked(block, text, styles)


def _blocks(element: etree._Element) -> Iterator[etree._Element]:
    """Paragraphs and tables in order, also those inside content controls."""
    for child in element:
        if child.tag in (_PARAGRAPH, _TABLE):
            yield child
        else:
            yield from _blocks(child)


def _marked(paragraph: etree._Element, text: str, styles: dict[str, str]) -> str:
    style = paragraph.find(f"{qn('w:pPr')}/{qn('w:pStyle')}")
    name = styles.get(style.get(qn("w:val")) or "", "") if style is not None else ""
    if heading := _HEADING.match(name):
        return f"{'#' * int(heading[1])} {text}"
    if name == "title":
        return f"# {text}"
    numbered = paragraph.find(f"{qn('w:pPr')}/{qn('w:numPr')}") is not None
    return f"- {text}" if numbered or name.startswith("list ") else text


def _table(table: etree._Element) -> Iterator[str]:
    for row in _own(table, _ROW):
        cells = [" ".join(_text(cell).split()) for cell in _own(row, _CELL)]
        if any(cells):
            yield f"| {' | '.join(cells)} |"


def _own(element: etree._Element, tag: str) -> Iterator[etree._Element]:
    """The rows of a table or the cells of a row, also those in content controls, but not those of a table within."""
    for node in element.iter(tag):
        if next(node.iterancestors(element.tag)) is element:
            yield node


def _is_hidden(words: etree._Element) -> bool:
    """Whether they are of a run that Word neither shows nor prints."""
    run = words.getparent()
    vanish = run.find(f"{qn('w:rPr')}/{qn('w:vanish')}") if run is not None else None
    return vanish is not None and vanish.get(qn("w:val"), "1") not in ("0", "false", "off")


def _text(element: etree._Element) -> str:
    parts: list[str] = []
    for node in element.iter():
        if node.tag == _WORDS:
            if not _is_hidden(node):
                parts.append(node.text or "")
        elif node.tag == _PARAGRAPH and parts and node is not element:
            parts.append("\n")
        elif isinstance(node.tag, str):
            parts.append(_BREAKS.get(node.tag, ""))
    return "".join(parts).strip()
