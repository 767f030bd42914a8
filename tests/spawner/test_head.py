"""What a request's head may hold, and the strict reading of its body."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spawner.calls import CALLS
from spawner.errors import CallError
from spawner.head import MAX_BODY, body_length
from spawner.strict_json import MAX_DEPTH, parse

CREATE = next(call for call in CALLS if call.name == "container_create")
START = next(call for call in CALLS if call.name == "container_start")
SDK = [(b"Host", b"localhost"), (b"User-Agent", b"docker-sdk"), (b"Accept", b"*/*"), (b"Connection", b"keep-alive")]
JSON = (b"Content-Type", b"application/json")


@pytest.mark.requirement("spawner:heads")
def test_the_sdks_heads_pass() -> None:
    assert body_length(CREATE, [*SDK, JSON, (b"Content-Length", b"1234")]) == 1234
    assert body_length(START, [*SDK, (b"Content-Length", b"0")]) == 0
    assert body_length(START, SDK) == 0


@pytest.mark.requirement("spawner:heads")
@pytest.mark.parametrize(
    "headers",
    [
        [(b"Transfer-Encoding", b"chunked")],
        [(b"transfer-encoding", b"identity")],
        [(b"Upgrade", b"tcp")],
        [(b"Upgrade", b"h2c"), (b"HTTP2-Settings", b"x")],
        [(b"Connection", b"Upgrade")],
        [(b"Connection", b"keep-alive, Content-Length")],
        [(b"Expect", b"100-continue")],
        [(b"Content-Encoding", b"gzip")],
        [(b"X-Registry-Auth", b"x")],
        [(b"X-Forwarded-For", b"x")],
        [(b"Content-Length", b"2"), (b"content-length", b"2")],
        [(b"Content-Length", b"+2")],
        [(b"Content-Length", b"-2")],
        [(b"Content-Length", b"2, 2")],
        [(b"Content-Length", b"0x2")],
        [(b"Content-Length", "٢".encode())],
        [(b"Content-Length", str(MAX_BODY + 1).encode())],
        [(b"Content-Length", b"9" * 40)],
        [(b"Content-Type", b"text/plain")],
        [(b"Content-Type", b"application/json"), (b"Content-Type", b"text/plain")],
        [(b"Host", b"a"), (b"Host", b"b")],
    ],
    ids=str,
)
def test_other_heads_are_refused(headers: list[tuple[bytes, bytes]]) -> None:
    kept = [] if any(name.lower() == b"content-type" for name, _ in headers) else [JSON]
    with pytest.raises(CallError):
        body_length(CREATE, [*kept, *headers])


@pytest.mark.requirement("spawner:heads")
def test_a_call_without_a_body_takes_none() -> None:
    with pytest.raises(CallError):
        body_length(START, [JSON, (b"Content-Length", b"2")])


@pytest.mark.requirement("spawner:heads")
@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"{} {}",
        b"{}\x00",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"HostConfig": {}, "hostconfig": {"Privileged": true}}',
        b'{"a": {"b": 1, "b": 1}}',
        '{"K": 1, "\N{KELVIN SIGN}": 2}'.encode(),
        b"[" * 100_000,
        b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2),
        b"{'a': 1}",
        b'{"a": 1,}',
        b"// x\n{}",
    ],
    ids=lambda text: repr(text[:30]),
)
def test_json_with_more_than_one_meaning_is_refused(text: bytes) -> None:
    with pytest.raises(CallError) as refusal:
        parse(text)
    assert refusal.value.status == 400


@pytest.mark.requirement("spawner:heads")
@settings(deadline=None)
@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(text: bytes) -> None:
    try:
        parse(text)
    except CallError as error:
        assert error.status == 400
