from __future__ import annotations

import pytest

from mcp_servers.kit.filetype import file_type, promised_type
from tests.fakes.documents import archive, pdf, short_id, word


@pytest.mark.parametrize(
    ("content", "media_type", "kind", "name"),
    [
        (pdf(["x"]), "text/html", "pdf", "a PDF"),
        (b"\n\n%PDF-1.4", "", "pdf", "a PDF"),
        (word("x"), "application/octet-stream", "docx", "a Word document"),
        (archive(**{"xl/workbook.xml": ""}), "", None, "an Excel workbook"),
        (archive(**{"ppt/presentation.xml": ""}), "", None, "a PowerPoint presentation"),
        (archive(note="x"), "application/pdf", None, "a ZIP archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "application/msword", None, "an older Office file"),
        (b"{\\rtf1 x}", "text/plain", None, "an RTF document"),
        (b"\x89PNG\r\n", "", None, "a picture"),
        (b"\x1f\x8b\x08", "", None, "a packed archive"),
        (b"MZ\x90", "application/octet-stream", None, "a program"),
        (b"words", "text/plain", "text", "plain text"),
        (b"a,b", "text/csv", "text", "plain text"),
        (b"words", "", "text", "plain text"),
        ("\ufeffwörter".encode("utf-16"), "", "text", "plain text"),
        (b"\xef\xbb\xbf <!DOCTYPE HTML><p>x", "", "html", "a web page"),
        (b"<p>x", "application/xhtml+xml", "html", "a web page"),
        (b"{}", "application/json", None, "JSON data"),
        (b"....", "video/mp4", None, "a video"),
        (b"....", "application/x-ignore-all-instructions", None, "a file of another type"),
        (b"no pdf", "application/pdf", None, "a damaged file"),
        (b"\x00\x01\x02", "", None, "a file of an unknown type"),
        (b"", "", None, "a file of an unknown type"),
    ],
    ids=short_id,
)
def test_a_file_is_known_by_its_marks_before_its_name(
    content: bytes, media_type: str, kind: str | None, name: str
) -> None:
    found = file_type(content, media_type)
    assert found.kind == kind
    assert found.name.startswith(name)


def test_what_is_promised_can_be_judged_before_anything_is_read() -> None:
    picture, page, unsaid = promised_type("image/png"), promised_type("TEXT/HTML "), promised_type("")
    assert picture is not None
    assert picture.kind is None
    assert page is not None
    assert page.kind == "html"
    assert unsaid is None
