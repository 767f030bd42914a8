"""Reading one request header: bounds, characters, and JSON in base64.

Every fault is an ``InvalidRequest`` whose ``param`` is the header's name. No message repeats a value: some are secret.
"""

from __future__ import annotations

import base64
import json
from typing import Final

from sidecar.errors import InvalidRequest

MAX_B64_CHARS: Final = 32 * 1024
"""Longest accepted ``…-b64`` header, in characters as sent."""

_BROKEN: Final = object()


def printable(value: str, header: str, *, limit: int) -> str:
    """``value`` without surrounding blanks, if it is printable ASCII of at most ``limit`` characters."""
    if len(value) > limit:
        raise InvalidRequest(f"Header {header} is longer than {limit} characters.", param=header)
    if not (value.isascii() and value.isprintable()):
        raise InvalidRequest(f"Header {header} holds a character that is not printable ASCII.", param=header)
    return value.strip()


def decode_json(value: str, header: str) -> object:
    """The JSON value that ``header`` carries in base64."""
    text = printable(value, header, limit=MAX_B64_CHARS)
    decoded = _decode(text)
    # Raised out here, so that no exception chain keeps the document.
    if decoded is _BROKEN:
        raise InvalidRequest(f"Header {header} is not base64 of a JSON document.", param=header)
    return decoded


def _decode(text: str) -> object:
    try:
        decoded: object = json.loads(base64.b64decode(text, validate=True).decode("utf-8"))
    except (ValueError, RecursionError):
        return _BROKEN
    return decoded
