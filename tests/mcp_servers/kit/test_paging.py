"""Cursors: they round-trip, and only for their own query."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_servers.kit.errors import InvalidArgument
from mcp_servers.kit.paging import decode_cursor, encode_cursor

QUERY = {"tool": "search", "query": "food"}


@given(st.integers(min_value=0, max_value=2**32 - 1), st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_round_trip(offset: int, query: dict[str, str | int | None]) -> None:
    assert decode_cursor(encode_cursor(offset, {**query}), {**query}) == offset


def test_no_cursor_is_the_beginning() -> None:
    assert decode_cursor(None, {**QUERY}) == 0
    assert decode_cursor("", {**QUERY}) == 0


@pytest.mark.requirement("mcp-kit:cursor-bound-to-query")
def test_a_cursor_of_another_query_is_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        decode_cursor(encode_cursor(10, {**QUERY}), {**QUERY, "query": "roofs"})
    assert caught.value.field == "cursor"


@given(st.integers(min_value=0, max_value=15), st.characters(codec="ascii", categories=["L", "N"]))
def test_a_changed_character_is_noticed(at: int, char: str) -> None:
    cursor = encode_cursor(10, {**QUERY})
    changed = cursor[:at] + char + cursor[at + 1 :]
    if changed != cursor:
        with pytest.raises(InvalidArgument):
            decode_cursor(changed, {**QUERY})


@given(st.text(min_size=1))
def test_junk_is_refused(junk: str) -> None:
    with pytest.raises(InvalidArgument):
        decode_cursor(junk, {**QUERY})
