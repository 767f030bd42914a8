"""Small real files: PDFs written out by hand, Word documents made with python-docx, and hostile ones of both."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence

import docx
from pypdf import PdfReader, PdfWriter


def pdf(pages: Sequence[str], *, title: str = "", bookmarks: Sequence[tuple[str, int]] = ()) -> bytes:
    """A PDF with one page for each text; an empty text gives a page without any. Bookmarks name pages from 1 on."""
    writer = PdfWriter(io.BytesIO(raw_pdf([_page_content(text) for text in pages])))
    if title:
        writer.add_metadata({"/Title": title})
    for name, page in bookmarks:
        writer.add_outline_item(title=name, page_number=page - 1)
    return _written(writer)


def encrypted_pdf(pages: Sequence[str], *, password: str) -> bytes:
    """With an empty ``password`` anybody may open it, as many agencies' files are."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf(pages))))
    writer.encrypt(user_password=password, owner_password="the owner's", algorithm="AES-256")
    return _written(writer)


def raw_pdf(contents: Sequence[bytes], *, packed: bool = False) -> bytes:
    """A PDF whose pages have these content streams, as they are or (``packed``) already deflated."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(contents)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(contents)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    how = b" /Filter /FlateDecode" if packed else b""
    for number, content in enumerate(contents):
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >>"
            b" /Contents %d 0 R >>" % (5 + 2 * number)
        )
        objects.append(b"<< /Length %d%s >>\nstream\n%s\nendstream" % (len(content), how, content))
    return _with_table(objects)


def pdf_bomb(megabytes: int) -> bytes:
    """One page whose content unpacks to so much that says nothing."""
    packer = zlib.compressobj(9)
    block = b"0 0 m\n" * 175_000
    packed = b"".join(packer.compress(block) for _ in range(megabytes))
    return raw_pdf([packed + packer.flush()], packed=True)


def word(*paragraphs: str | tuple[str, str], table: Sequence[Sequence[str]] = (), title: str = "") -> bytes:
    """A Word document: texts, or (style, text), then a table."""
    document = docx.Document()
    document.core_properties.title = title
    for paragraph in paragraphs:
        style, text = (None, paragraph) if isinstance(paragraph, str) else paragraph
        document.add_paragraph(text, style)
    if table:
        grid = document.add_table(len(table), len(table[0]))
        for row, texts in zip(grid.rows, table, strict=True):
            for cell, text in zip(row.cells, texts, strict=True):
                cell.text = text
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def word_with_body(inner_xml: str) -> bytes:
    """A Word document whose body is this XML, with the prefix ``w`` bound."""
    source, out = zipfile.ZipFile(io.BytesIO(word("x"))), io.BytesIO()
    names = (
        'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
        ' xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    )
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            body = f"<?xml version='1.0'?><w:document {names}><w:body>{inner_xml}</w:body></w:document>"
            target.writestr(name, body if name == "word/document.xml" else source.read(name))
    return out.getvalue()


def word_bomb(megabytes: int) -> bytes:
    """A Word document with a part that unpacks to so much."""
    out = io.BytesIO(word("small"))
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("word/media/image1.bmp", "w") as part:
        for _ in range(megabytes):
            part.write(bytes(1024 * 1024))
    return out.getvalue()


def archive(**files: str) -> bytes:
    """A ZIP archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name, text in files.items():
            target.writestr(name, text)
    return out.getvalue()


def short_id(value: object) -> str | None:
    """The id of a parameter: files would make ids that are long and differ from run to run."""
    return "file" if isinstance(value, bytes) else None


def _page_content(text: str) -> bytes:
    lines = [line.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)") for line in text.split("\n")]
    shown = b" ".join(b"(%s) Tj T*" % line.encode("cp1252") for line in lines)
    return b"BT /F1 11 Tf 14 TL 50 740 Td %s ET" % shown if text else b""


def _with_table(objects: Sequence[bytes]) -> bytes:
    out = bytearray(b"%PDF-1.7\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)


def _written(writer: PdfWriter) -> bytes:
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()
