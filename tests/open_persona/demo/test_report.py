"""Tool results in words."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from open_persona.demo.report import ITEMS_SHOWN, report


def test_items_are_listed_with_what_tells_them_apart_and_the_rest_is_counted() -> None:
    items = [{"title": f"Grant {n}", "agency": {"code": "HHS"}, "close_date": "2026-12-01"} for n in range(7)]
    lines = report("Found 7:\n" + json.dumps({"total": 7, "opportunities": items})).splitlines()
    assert lines[0] == "1. Grant 0 (agency HHS; close date 2026-12-01)"
    assert lines[-1] == f"... and {7 - ITEMS_SHOWN} more."


def test_nothing_found_is_said() -> None:
    assert report('{"items": []}') == "It found nothing."


def test_plain_text_stays() -> None:
    assert report("invalid_credentials: enter your key") == "invalid_credentials: enter your key"


@given(st.text())
def test_any_text_can_be_reported(text: str) -> None:
    report(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_can_be_reported(document: object) -> None:
    report(json.dumps(document))
