from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_servers.kit.passages import passage_end
from mcp_servers.kit.results import compact_json


@given(st.text(max_size=400), st.integers(min_value=20, max_value=120))
def test_the_pieces_are_the_whole_text_and_each_fits(text: str, most: int) -> None:
    start, pieces = 0, []
    while start < len(text):
        end = passage_end(text, start, max_bytes=most)
        assert end > start
        pieces.append(text[start:end])
        start = end
    assert "".join(pieces) == text
    assert all(len(compact_json(piece).encode()) <= most for piece in pieces)


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("a" * 80 + "\n\n" + "b" * 80, "a" * 80 + "\n\n"),
        ("a" * 80 + "\n" + "b" * 80, "a" * 80 + "\n"),
        ("a" * 80 + ". " + "b" * 80, "a" * 80 + ". "),
        ("a" * 80 + " " + "b" * 80, "a" * 80 + " "),
        ("a" * 200, "a" * 98),
        ("short", "short"),
    ],
)
def test_a_piece_ends_where_something_ends(text: str, piece: str) -> None:
    assert text[: passage_end(text, 0, max_bytes=100)] == piece
