"""Telling a switch that was turned off from a tick that a chat does not know of yet."""

from __future__ import annotations

import json

import pytest

from openwebui.old_chats import SeenOn, Version, ticked_on_page, ticked_since, too_young

T = "open_persona_integration_"


def body(*ticked: str) -> bytes:
    return json.dumps({"model_item": {"info": {"meta": {"toolIds": [T + name for name in ticked]}}}}).encode()


def versions(*rows: tuple[float, str]) -> list[Version]:
    return [Version(at, frozenset(names)) for at, names in rows]


@pytest.mark.requirement("webui:old-drafts")
def test_a_tick_that_the_page_or_the_chat_does_not_know_is_not_switched_off() -> None:
    history = versions((30, "ab"), (20, "a"), (10, ""))
    missing = frozenset("ab")
    assert too_young(missing, frozenset(), 25.0, history) == {"a", "b"}, "the page was loaded before both ticks"
    assert too_young(missing, missing, 25.0, history) == {"b"}, "the chat began between the ticks"
    assert too_young(missing, missing, 5.0, history) == {"a", "b"}, "the chat is older than both"
    assert too_young(missing, missing, 35.0, history) == frozenset(), "a chat that began with both"


@pytest.mark.requirement("webui:old-drafts")
def test_a_chat_that_is_not_stored_begins_with_all_ticks() -> None:
    assert too_young(frozenset("a"), frozenset("a"), None, versions((30, "a"), (10, ""))) == frozenset()


def test_what_does_not_come_from_a_page_is_taken_at_its_word() -> None:
    assert too_young(frozenset("a"), None, 5.0, versions((30, "a"), (10, ""))) == frozenset()


@pytest.mark.parametrize(
    "sent", [b"", b"{", b"[]", b"5", b'{"model_item": 5}', b'{"model_item": {"info": null}}', b"[" * 100_000]
)
def test_a_body_without_a_model_is_no_page(sent: bytes) -> None:
    assert ticked_on_page(sent) is None


def test_the_page_says_what_was_ticked_when_it_was_loaded() -> None:
    assert ticked_on_page(body("a", "b")) == frozenset("ab")
    assert ticked_on_page(b'{"model_item": {"info": {"meta": {}}}}') == frozenset()


def test_a_tick_dates_from_the_last_time_it_was_made() -> None:
    assert ticked_since("a", versions((40, "a"), (30, "a"), (20, ""), (10, "a"))) == 30
    assert ticked_since("a", versions((40, "a"), (10, "a"))) is None
    assert ticked_since("a", []) is None


def test_what_a_chat_had_on_is_remembered_for_that_user_and_chat_alone() -> None:
    seen = SeenOn(limit=2)
    assert seen.note("u", "c", frozenset("a")) == frozenset()
    assert seen.note("u", "c", frozenset("b")) == {"a"}
    assert seen.note("u", "c", frozenset()) == {"a", "b"}
    assert seen.note("v", "c", frozenset()) == frozenset()
    assert seen.note("u", "", frozenset("a")) == frozenset()
    seen.note("w", "c", frozenset())
    assert seen.note("u", "c", frozenset()) == frozenset(), "the chat unused for longest has gone"
