from __future__ import annotations

import base64

import pytest

from sidecar.errors import InvalidRequest
from sidecar.headers import MAX_B64_CHARS, decode_json, printable
from tests.sidecar.builders import b64


def test_a_header_carries_json() -> None:
    assert decode_json(b64({"a": ["é", 1]}), "x-test") == {"a": ["é", 1]}


@pytest.mark.parametrize(
    "value",
    [
        "%%%",
        "e30",  # no padding
        base64.b64encode(b"{").decode(),
        base64.b64encode(b"\xff\xfe").decode(),
        base64.b64encode(b"[" * 20_000).decode(),
        base64.b64encode(b"1" * 5_000).decode(),  # longer than Python's limit on digits
        "",
    ],
)
def test_broken_json_names_the_header(value: str) -> None:
    with pytest.raises(InvalidRequest, match="x-test") as caught:
        decode_json(value, "x-test")
    assert caught.value.param == "x-test"
    assert caught.value.__context__ is None, "an exception chain keeps the document"


def test_a_header_has_a_limit() -> None:
    with pytest.raises(InvalidRequest, match="longer than 32768"):
        decode_json("A" * (MAX_B64_CHARS + 1), "x-test")


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\tb", "caf\xe9", "\x00", "\x7f", "Ω"])
def test_only_printable_ascii_passes(value: str) -> None:
    with pytest.raises(InvalidRequest, match="printable ASCII") as caught:
        printable(value, "x-test", limit=100)
    assert value not in caught.value.message
