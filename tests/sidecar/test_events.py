from __future__ import annotations

from collections.abc import Iterable

import pytest

from sidecar.events import Ended, Retry, Text, Tool, TurnEvent, TurnEvents
from sidecar.opencode_client import Message, new_message_id

SESSION, USER, ANSWER = "ses_1", "msg_2", "msg_3"


def event(kind: str, **properties: object) -> dict[str, object]:
    return {"type": kind, "properties": {"sessionID": SESSION, **properties}}


def message(identifier: str, role: str, **info: object) -> dict[str, object]:
    return {
        "type": "message.updated",
        "properties": {"info": {"id": identifier, "role": role, "sessionID": SESSION, **info}},
    }


def part(identifier: str, kind: str, *, of: str = ANSWER, **more: object) -> dict[str, object]:
    return event(
        "message.part.updated", part={"id": identifier, "messageID": of, "sessionID": SESSION, "type": kind, **more}
    )


def delta(identifier: str, text: str, *, of: str = ANSWER) -> dict[str, object]:
    return event("message.part.delta", messageID=of, partID=identifier, field="text", delta=text)


BUSY = event("session.status", status={"type": "busy"})
IDLE = event("session.idle")
BEGIN: list[dict[str, object]] = [message(USER, "user"), BUSY, message(ANSWER, "assistant", agent="izzy")]


def feed(events: Iterable[dict[str, object]], turn: TurnEvents | None = None) -> list[TurnEvent]:
    turn = turn or TurnEvents(SESSION, USER)
    return [item for one in events for item in turn.feed(one)]


def test_text_comes_as_it_is_made_and_the_whole_part_adds_nothing() -> None:
    shown = feed(
        [*BEGIN, part("p", "text", text=""), delta("p", "he"), delta("p", "llo"), part("p", "text", text="hello"), IDLE]
    )
    assert shown == [Text("he"), Text("llo"), Ended()]


def test_what_deltas_missed_comes_with_the_whole_part() -> None:
    assert feed([*BEGIN, part("p", "text", text=""), delta("p", "he"), part("p", "text", text="hello")]) == [
        Text("he"),
        Text("llo"),
    ]


def test_reasoning_is_told_by_its_part() -> None:
    shown = feed(
        [*BEGIN, part("r", "reasoning", text=""), delta("r", "hm"), part("p", "text", text=""), delta("p", "yes")]
    )
    assert shown == [Text("hm", "reasoning"), Text("yes")]


def test_two_text_parts_are_two_paragraphs() -> None:
    shown = feed([*BEGIN, part("p", "text", text="I look."), part("q", "text", text=""), delta("q", "Found")])
    assert shown == [Text("I look."), Text("\n\nFound")]


def test_the_users_own_parts_and_other_sessions_are_not_shown() -> None:
    other: dict[str, object] = {
        "type": "message.part.delta",
        "properties": {"sessionID": "ses_9", "messageID": ANSWER, "partID": "p", "delta": "x"},
    }
    assert feed([*BEGIN, part("u", "text", of=USER, text="my question"), other]) == []


def test_compaction_is_not_shown() -> None:
    inner = [message("msg_4", "assistant", agent="compaction"), part("c", "text", of="msg_4", text="summary")]
    assert feed([*BEGIN, *inner]) == []


def test_a_tool_call_is_shown_once_for_each_state() -> None:
    states = ["pending", "running", "running", "completed"]
    calls = [part("t", "tool", callID="c1", tool="alpha_search", state={"status": state}) for state in states]
    assert feed([*BEGIN, *calls]) == [Tool("c1", "alpha_search", "running"), Tool("c1", "alpha_search", "completed")]


@pytest.mark.requirement("events:late-idle")
def test_a_late_idle_of_the_turn_before_does_not_end_this_one() -> None:
    late = [IDLE, message("msg_1", "assistant", error={"name": "APIError"}), event("session.error", error={})]
    assert feed(late[:2]) == []
    assert feed([IDLE, *BEGIN, part("p", "text", text="hi"), IDLE]) == [Text("hi"), Ended()]


def test_idle_before_busy_does_not_end_it() -> None:
    assert feed([message(USER, "user"), IDLE]) == []


def test_an_error_before_anything_began_ends_it() -> None:
    error = {"name": "UnknownError", "data": {"message": "no agent"}}
    assert feed([event("session.error", error=error)]) == [Ended("UnknownError", "no agent")]


def test_an_error_in_the_middle_ends_at_idle_and_only_once() -> None:
    error = {"name": "APIError", "data": {"message": "refused"}}
    assert feed([*BEGIN, event("session.error", error=error), IDLE, IDLE]) == [Ended("APIError", "refused")]


def test_a_retry_is_told() -> None:
    assert feed([*BEGIN, event("session.status", status={"type": "retry", "attempt": 2})]) == [Retry(2)]


def test_usage_is_summed_over_steps_and_counts_cached_input() -> None:
    turn = TurnEvents(SESSION, USER)
    tokens = {"input": 10, "output": 3, "reasoning": 2, "cache": {"read": 4, "write": 1}}
    feed([*BEGIN, message(ANSWER, "assistant", tokens=tokens), message("msg_4", "assistant", tokens=tokens)], turn)
    usage = turn.usage
    assert (usage.prompt, usage.completion, usage.reasoning, usage.cached) == (30, 10, 4, 8)
    assert turn.answer_id == "msg_4"


def test_after_a_gap_the_rest_is_read_from_the_session() -> None:
    turn = TurnEvents(SESSION, USER)
    feed([*BEGIN, part("p", "text", text=""), delta("p", "he")], turn)
    text = {"id": "p", "messageID": ANSWER, "sessionID": SESSION, "type": "text", "text": "hello"}
    info = {"id": ANSWER, "role": "assistant", "time": {"completed": 1}, "finish": "stop"}
    messages = [Message(USER, "user", {"id": USER, "role": "user"}, ()), Message(ANSWER, "assistant", info, (text,))]
    assert list(TurnEvents(SESSION, USER).catch_up(messages[:1])) == []
    assert list(turn.catch_up([])) == []
    assert list(turn.catch_up(messages)) == [Text("llo"), Ended()]


def test_after_a_gap_in_the_middle_nothing_is_lost_or_told_twice() -> None:
    turn = TurnEvents(SESSION, USER)
    feed([*BEGIN, part("p", "text", text=""), delta("p", "one ")], turn)
    text = {"id": "p", "messageID": ANSWER, "sessionID": SESSION, "type": "text", "text": "one two th"}
    info = {"id": ANSWER, "role": "assistant", "time": {"created": 1}}
    messages = [Message(USER, "user", {"id": USER, "role": "user"}, ()), Message(ANSWER, "assistant", info, (text,))]
    assert list(turn.catch_up(messages)) == [Text("two th")]
    late = [delta("p", " th"), delta("p", "ree"), part("p", "text", text="one two three"), IDLE]
    assert feed(late, turn) == [Text("ree"), Ended()]


def test_a_character_that_is_cut_in_two_is_put_together() -> None:
    halves = [delta("p", "a\ud83d"), delta("p", "\ude00b"), part("p", "text", text="a😀bc"), delta("p", "\ude00")]
    shown = feed([*BEGIN, part("p", "text", text=""), *halves])
    assert shown == [Text("a"), Text("😀b"), Text("c"), Text("\ufffd")]


def test_message_ids_sort_by_time() -> None:
    ids = [new_message_id(now) for now in (1795447313.178, 1795447313.179, 1795447400.0)]
    assert ids == sorted(ids)
    assert all(len(one) == len("msg_208ffd31a001ZGpqInjQ4JgUFl") for one in ids)
    assert ids[0].startswith("msg_208ffd31a001")
