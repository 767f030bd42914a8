"""The envelope and how it is cut to size."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.types import CallToolResult
from pydantic import JsonValue

from mcp_servers.kit.paging import decode_cursor, encode_cursor
from mcp_servers.kit.results import Envelope, Item, Page, Provenance, page_result
from tests.mcp_servers.mcp_session import payload_of, text_of

NOW = datetime(2026, 11, 23, 12, 0, 0, 123, tzinfo=UTC)
SOURCE = Provenance("Demo", NOW)


def paged(items: list[Item], **more: object) -> Page:
    query: dict[str, JsonValue] = {"q": "x"}
    return Page(items, query, SOURCE, cursor_at=lambda count: encode_cursor(count, query), **more)  # type: ignore[arg-type]


def size(result: CallToolResult) -> int:
    return len(text_of(result).encode())


def test_the_envelope_has_every_field() -> None:
    payload = payload_of(page_result(Page([{"a": 1}], {"q": "x"}, SOURCE, total=1)))
    assert payload == {
        "source": "Demo",
        "retrieved_at": "2026-11-23T12:00:00Z",
        "from_cache": False,
        "cache_age_seconds": None,
        "query_used": {"q": "x"},
        "total": 1,
        "returned": 1,
        "has_more": False,
        "next_cursor": None,
        "items": [{"a": 1}],
        "notices": [],
    }
    Envelope.model_validate(payload)


def test_cache_age_and_notices_of_the_source_are_shown() -> None:
    page = Page([], {}, Provenance("Demo", NOW, True, 61.9, ("old",)), notices=["first"], extra={"unresolved": [1]})
    payload = payload_of(page_result(page))
    assert payload["cache_age_seconds"] == 61
    assert payload["notices"] == ["first", "old"]
    assert payload["unresolved"] == [1]


def test_a_merged_source_is_as_old_as_its_oldest_part() -> None:
    old = Provenance("Demo", NOW - timedelta(minutes=5), True, 300.0, ("a",))
    merged = Provenance.merge("Demo", [SOURCE, old, Provenance("Demo", NOW, notices=("a", "b"))])
    assert merged == Provenance("Demo", old.retrieved_at, True, 300.0, ("a", "b"))


def test_droppable_fields_go_first() -> None:
    items: list[Item] = [{"id": number, "overview": "x" * 400, "tags": ["t"]} for number in range(10)]
    payload = payload_of(page_result(paged(items, droppable=("overview", "tags")), max_bytes=2000))
    assert payload["items"] == [{"id": number, "tags": ["t"]} for number in range(10)]
    assert any("overview" in str(notice) for notice in _notices(payload))
    assert payload["has_more"] is False


@pytest.mark.requirement("mcp-kit:size-cap")
def test_then_rows_go_and_the_cursor_continues_after_the_last_kept_one() -> None:
    items: list[Item] = [{"id": number, "name": "n" * 200} for number in range(30)]
    result = page_result(paged(items), max_bytes=2000)
    payload = payload_of(result)
    returned = payload["returned"]
    assert isinstance(returned, int)
    assert 0 < returned < 30
    assert size(result) <= 2000
    assert payload["has_more"] is True
    assert decode_cursor(str(payload["next_cursor"]), {"q": "x"}) == returned
    assert any("next_cursor" in str(notice) for notice in _notices(payload))


def test_one_huge_row_is_shortened_inside() -> None:
    item: Item = {"id": 1, "text": "word " * 20_000, "list": list(range(5000)), "deep": {"more": "y" * 50_000}}
    result = page_result(paged([item]), max_bytes=3000)
    payload = payload_of(result)
    assert size(result) <= 3000
    assert payload["returned"] == 1
    assert "Texts are cut" in str(_notices(payload))


json_text = st.text(max_size=300)
rows = st.lists(st.dictionaries(st.sampled_from(["a", "b", "overview"]), json_text, max_size=3), max_size=40)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_any_rows_fit_and_stay_valid_json(items: list[dict[str, str]]) -> None:
    result = page_result(paged([dict(item) for item in items], droppable=("overview",)), max_bytes=1500)
    assert size(result) <= 1500
    assert json.loads(text_of(result)) == result.structured_content


def _notices(payload: dict[str, JsonValue]) -> list[JsonValue]:
    notices = payload["notices"]
    assert isinstance(notices, list)
    return notices
