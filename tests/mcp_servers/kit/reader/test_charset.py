from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_servers.kit.reader.charset import decoded
from tests.fakes.documents import short_id

UMLAUT = "Grüße – aus Köln"
META = '<meta charset="{}">{}'


@pytest.mark.requirement("mcp-kit:charset")
@pytest.mark.parametrize(
    ("content", "said", "text"),
    [
        (UMLAUT.encode(), "", UMLAUT),
        (UMLAUT.encode(), "utf-8", UMLAUT),
        (UMLAUT.encode("cp1252"), "", UMLAUT),
        (UMLAUT.encode("cp1252"), "iso-8859-1", UMLAUT),
        (UMLAUT.encode("utf-8-sig"), "iso-8859-1", UMLAUT),
        (UMLAUT.encode("utf-16"), "", UMLAUT),
        ("Привет".encode("koi8-r"), "KOI8-R", "Привет"),
        ("日本".encode("shift_jis"), "Shift_JIS", "日本"),
        ("中文".encode("gb2312"), '"gb2312"', "中文"),
        (META.format("koi8-r", "Привет").encode("koi8-r"), "", META.format("koi8-r", "Привет")),
        (META.format("utf-16", UMLAUT).encode(), "", META.format("utf-16", UMLAUT)),
        (UMLAUT.encode(), "unicode_escape", UMLAUT),
        (UMLAUT.encode(), "no-such-charset", UMLAUT),
        (b"+ADw-script+AD4-", "utf-7", "+ADw-script+AD4-"),
    ],
    ids=short_id,
)
def test_text_is_read_as_a_browser_would(content: bytes, said: str, text: str) -> None:
    assert decoded(content, said, html=True) == (text, False)


@pytest.mark.parametrize("content", [b"fine \xc3\xbc and then \xff broken", b"\xc3\xbc \xff"], ids=short_id)
def test_broken_characters_are_told(content: bytes) -> None:
    text, damaged = decoded(content, "utf-8")
    assert damaged
    assert "ü" in text
    assert "\ufffd" in text


@given(st.binary(max_size=300), st.text(max_size=12))
def test_any_bytes_become_text(content: bytes, said: str) -> None:
    decoded(content, said, html=True)
