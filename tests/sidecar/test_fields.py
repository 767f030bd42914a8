from __future__ import annotations

from sidecar.fields import child, join, shown


def test_paths_read_like_code() -> None:
    assert join("open_persona", ("integrations", "instrumentl", "tools", 0)) == (
        "open_persona.integrations.instrumentl.tools[0]"
    )


def test_an_odd_key_cannot_disfigure_a_message() -> None:
    path = child("open_persona", "a\nb" + "x" * 200)
    assert "\n" not in path
    assert len(path) < 80


def test_a_callers_word_is_escaped_and_cut() -> None:
    assert shown("a\n\u2028b") == '"a\\n\\u2028b"'
    assert len(shown("x" * 500)) < 100
