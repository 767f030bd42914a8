"""What a request's head may hold. Few headers matter to Docker, and none of them is passed on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from spawner.calls import Call
from spawner.errors import Malformed, Refused

MAX_BODY: Final = 65_536

ALLOWED: Final = frozenset(
    {"host", "user-agent", "accept", "accept-encoding", "connection", "content-type", "content-length"}
)
CONTENT_TYPES: Final = frozenset({"application/json", "application/json; charset=utf-8"})


def body_length(call: Call, headers: Iterable[tuple[bytes, bytes]]) -> int:
    """How many bytes of body follow; 0 where the call has none.

    Raises ``Malformed``: a header twice, a length that is none. ``Refused``: a header that nobody needs here (upgrades,
    transfer and content encodings, expectations among them), a body where none belongs, or one that is too long.
    """
    sent = _by_name(headers)
    if sent.get("connection", "keep-alive").lower() not in {"keep-alive", "close"}:
        raise Refused("The header connection must be keep-alive or close.")
    text = sent.get("content-length", "0")
    if not re.fullmatch("[0-9]{1,9}", text):
        raise Malformed("The header content-length must be a number.")
    length = int(text)
    if length > (MAX_BODY if call.body else 0):
        raise Refused(f"The body must be {f'at most {MAX_BODY} bytes' if call.body else 'empty'}.")
    if call.body and sent.get("content-type", "").lower() not in CONTENT_TYPES:
        raise Refused("The body must be of type application/json.")
    return length


def _by_name(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    sent: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        if name not in ALLOWED:
            raise Refused("Only these headers are allowed: " + ", ".join(sorted(ALLOWED)) + ".")
        if name in sent:
            raise Malformed(f"The header {name} was sent twice.")
        sent[name] = raw_value.decode("latin-1")
    return sent
