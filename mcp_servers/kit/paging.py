"""Opaque cursors: where a listing goes on, bound to the very query that it belongs to.

A cursor names a position and nothing secret. Its check sum catches a mistyped, cut or foreign one; it does not
authenticate anybody: access is decided by the caller's credentials on every call.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, JsonValue

from mcp_servers.kit.errors import InvalidArgument

Limit = Annotated[int, Field(ge=1, le=25, description="How many items to return")]
Cursor = Annotated[str | None, Field(max_length=200, description="next_cursor of the previous answer, to go on")]
"""The two arguments that every listing takes."""

_CHECK_BYTES = 8
_WHAT_TO_DO = "Repeat the call without cursor, then pass next_cursor unchanged and keep every other argument the same."


def encode_cursor(offset: int, query: Mapping[str, JsonValue]) -> str:
    """The cursor that continues ``query`` at ``offset`` (a count of items, 0 or more)."""
    position = offset.to_bytes(4, "big")
    return base64.urlsafe_b64encode(position + _check(position, query)).decode().rstrip("=")


def decode_cursor(cursor: str | None, query: Mapping[str, JsonValue]) -> int:
    """The offset that ``cursor`` names; 0 without one. Raises InvalidArgument for one that is not of ``query``."""
    if not cursor:
        return 0
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    position, check = raw[:4], raw[4:]
    if len(raw) != 4 + _CHECK_BYTES or check != _check(position, query):
        raise InvalidArgument("cursor", "this is not a cursor of this query", what_to_do=_WHAT_TO_DO)
    return int.from_bytes(position, "big")


def _check(position: bytes, query: Mapping[str, JsonValue]) -> bytes:
    canonical = json.dumps(query, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.blake2b(canonical + position, digest_size=_CHECK_BYTES, person=b"mcp-kit-cursor").digest()
