"""HTML of an upstream as plain text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_servers.kit.text import html_to_text, shorten


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain", "plain"),
        ("<p>One</p><p>Two &amp; three</p>", "One\n\nTwo & three"),
        ("a&nbsp;b&#39;s", "a b's"),
        ("&amp;lt;b&amp;gt; twice", "<b> twice"),
        ("<ul><li>x</li><li>y</li></ul>", "- x\n- y"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<script>alert(1)</script><style>p{}</style>seen", "seen"),
        ("5 < 6 and <unclosed", "5 < 6 and <unclosed"),
        ("bell\x07 and\r\nline", "bell and\nline"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "a b"),
    ],
)
def test_html_to_text(html: str, text: str) -> None:
    assert html_to_text(html) == text


@given(st.text())
def test_any_text_goes_through(value: str) -> None:
    assert "\r" not in html_to_text(value)


@given(st.text(), st.integers(min_value=2, max_value=50))
def test_shorten_keeps_to_its_length(value: str, longest: int) -> None:
    assert len(shorten(value, longest)) <= longest


def test_shorten_cuts_at_a_word() -> None:
    assert shorten("one two three four", 15) == "one two three…"
