"""Watching an answer as it passes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.broker_stream import MAX_LINE_BYTES, LineTooLong, StreamScan
from sidecar.providers import Dialect
from tests.fakes.provider_wire import Content, ToolCall, frames

KEY = b"sk-canary-4f9d1c77aa03e5b2d8"
DIALECTS: list[Dialect] = ["chat", "responses", "messages"]


def stream_of(dialect: Dialect, text: str = "hello") -> bytes:
    hostile = '"type":"error" "error":{"a":1} "usage":{"prompt_tokens":99} data: [DONE] "finish_reason":"stop"'
    tools = [ToolCall("f", {"error": {"message": hostile}, "type": "error", "usage": {"input_tokens": 99}})]
    content = Content([text, hostile, "\n\ndata: [DONE]\n\n"], ["why"], tools, 11, 7, "m", 1)
    return b"".join(frame.data for frame in frames(dialect, content))


def cut_at(data: bytes, marks: list[int]) -> list[bytes]:
    places = [0, *sorted(mark % len(data) for mark in marks), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


@given(dialect=st.sampled_from(DIALECTS), marks=st.lists(st.integers(0, 10_000), max_size=6))
def test_an_answer_passes_byte_for_byte_however_it_is_cut(dialect: Dialect, marks: list[int]) -> None:
    data = stream_of(dialect)
    scan = StreamScan(dialect, KEY)
    assert b"".join([scan.feed(chunk) for chunk in cut_at(data, marks)] + [scan.rest()]) == data
    assert (scan.complete, scan.error) == (True, None)
    assert (scan.input_tokens, scan.output_tokens) == (11, 7)


@pytest.mark.requirement("broker:canary")
@given(dialect=st.sampled_from(DIALECTS), marks=st.lists(st.integers(0, 10_000), max_size=6))
def test_an_echoed_key_never_passes_however_it_is_cut(dialect: Dialect, marks: list[int]) -> None:
    scan = StreamScan(dialect, KEY)
    data = stream_of(dialect, f"your key is {KEY.decode()}")
    assert KEY in data
    seen = b"".join([scan.feed(chunk) for chunk in cut_at(data, marks)] + [scan.rest()])
    assert KEY not in seen
    assert b"[redacted]" in seen


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_without_its_end_is_not_complete(dialect: Dialect) -> None:
    scan = StreamScan(dialect)
    first = next(
        index for index, frame in enumerate(frames(dialect, Content(["a"], [], [], 1, 1, "m", 1))) if frame.delta
    )
    for frame in list(frames(dialect, Content(["a"], [], [], 1, 1, "m", 1)))[: first + 1]:
        scan.feed(frame.data)
    assert not scan.complete


@pytest.mark.parametrize(
    ("dialect", "event"),
    [
        ("chat", b'data: {"error":{"message":"x"}}\n\n'),
        ("chat", b'data: {"id":"1","error":{"code":502},"choices":[{"finish_reason":"error"}]}\n\n'),
        ("messages", b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n'),
        ("responses", b'event: error\ndata: {"type":"error","code":"server_error"}\n\n'),
        ("responses", b'event: response.failed\ndata: {"type":"response.failed","response":{"error":{}}}\n\n'),
    ],
)
def test_an_error_event_is_held_back(dialect: Dialect, event: bytes) -> None:
    scan = StreamScan(dialect)
    kept = scan.feed(b": comment\n\n" + event)
    assert scan.error
    assert not scan.complete
    assert b"{" not in kept
    assert kept.startswith(b": comment\n\n")


def test_cached_tokens_count_as_input() -> None:
    scan = StreamScan("messages")
    scan.feed(
        b'data: {"type":"message_start","message":{"usage":'
        b'{"input_tokens":3,"cache_read_input_tokens":100,"cache_creation_input_tokens":20,"output_tokens":1}}}\n\n'
        b'data: {"type":"message_delta","usage":{"output_tokens":9}}\n\n'
    )
    assert (scan.input_tokens, scan.output_tokens) == (123, 9)


def test_a_line_without_end_is_given_up() -> None:
    scan = StreamScan("chat")
    with pytest.raises(LineTooLong):
        for _ in range(MAX_LINE_BYTES // 2**20 + 1):
            scan.feed(b"x" * 2**20)
