"""A runner's JSON-RPC request: read from the body, judged by the rules of its protocol era, and answered.

Rules and error codes: MCP specification 2026-07-28 (the ``_meta`` envelope and the ``MCP-Protocol-Version``,
``Mcp-Method`` and ``Mcp-Name`` headers, which must repeat the body) and 2025-11-25. The body alone decides what is
done; headers can only make a request be refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from hub.errors import RpcError
from hub.mcp_session import HANDSHAKE_VERSIONS, MODERN_VERSION

JsonObject = Mapping[str, object]
RawHeaders = Sequence[tuple[bytes, bytes]]

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
CLIENT_KEY = "io.modelcontextprotocol/clientInfo"

_ROUTING = {b"mcp-protocol-version", b"mcp-method", b"mcp-name"}
_BASE64 = re.compile(r"=\?base64\?(.*)\?=")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # 1e999: it would be written as Infinity, which is not JSON
        raise ValueError("a number is too large")
    return number


_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_decoder = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)


def decoded(body: bytes) -> object:
    """Strict JSON: UTF-8, no NaN, no number that is infinite. Raises ValueError or RecursionError."""
    return _decoder.decode(body.decode("utf-8"))


@dataclass(frozen=True)
class Asked:
    """One request, or a notification (``id`` None). ``meta`` is ``params._meta``."""

    id: str | int | None
    method: str
    params: JsonObject = field(repr=False)
    modern: bool

    @property
    def meta(self) -> JsonObject:
        meta = self.params.get("_meta")
        return meta if isinstance(meta, dict) else {}

    @property
    def progress_token(self) -> str | int | None:
        token = self.meta.get("progressToken")
        return token if isinstance(token, str | int) and not isinstance(token, bool) else None


def read_request(body: bytes, raw: RawHeaders) -> Asked:
    """The request in ``body``. Raises RpcError for whatever is not one that this gateway can answer."""
    try:
        message = decoded(body)
    except (ValueError, RecursionError):
        raise RpcError(PARSE_ERROR, "Parse error") from None
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or not isinstance(message.get("method"), str):
        raise RpcError(INVALID_REQUEST, "Body must be a single JSON-RPC request or notification object")
    request_id, params = message.get("id"), message.get("params", {})
    if "id" in message and (not isinstance(request_id, str | int) or isinstance(request_id, bool)):
        raise RpcError(INVALID_REQUEST, "id must be a string or a whole number")
    if not isinstance(params, dict):
        raise RpcError(INVALID_PARAMS, "params must be an object", id=request_id)
    routing = [(name, value.decode("latin-1").strip(" \t")) for name, value in raw if name in _ROUTING]
    headers = dict(routing)
    meta, version = params.get("_meta"), headers.get(b"mcp-protocol-version")
    enveloped = isinstance(meta, dict) and VERSION_KEY in meta
    old = version is None or version in HANDSHAKE_VERSIONS
    asked = Asked(request_id, message["method"], params, modern=enveloped or not old)
    if asked.modern:
        _check_modern(asked, headers, repeated=len(headers) < len(routing))
    return asked


def _check_modern(asked: Asked, headers: Mapping[bytes, str], *, repeated: bool) -> None:
    version = headers.get(b"mcp-protocol-version")
    if asked.id is None:
        _check_version(version, asked)
        return
    if repeated:
        raise RpcError(HEADER_MISMATCH, "A routing header appears more than once", id=asked.id)
    if VERSION_KEY not in asked.meta or CAPABILITIES_KEY not in asked.meta:
        raise RpcError(INVALID_PARAMS, f"params._meta must have {VERSION_KEY} and {CAPABILITIES_KEY}", id=asked.id)
    if version is None or version != asked.meta[VERSION_KEY]:
        raise RpcError(HEADER_MISMATCH, "MCP-Protocol-Version differs from the body, or is missing", id=asked.id)
    if headers.get(b"mcp-method") != asked.method:
        raise RpcError(HEADER_MISMATCH, "Mcp-Method differs from the body, or is missing", id=asked.id)
    named = asked.params.get("name") if asked.method == "tools/call" else None
    if named is not None and header_text(headers.get(b"mcp-name")) != named:
        raise RpcError(HEADER_MISMATCH, "Mcp-Name differs from the body, or is missing", id=asked.id)
    _check_version(version, asked)


def _check_version(version: str | None, asked: Asked) -> None:
    if version != MODERN_VERSION:
        data = {"supported": [MODERN_VERSION], "requested": version or ""}
        raise RpcError(UNSUPPORTED_VERSION, "Unsupported protocol version", data, asked.id)


def header_text(value: str | None) -> str | None:
    """A header's text; ``=?base64?…?=`` is decoded, None for a malformed one."""
    found = _BASE64.fullmatch(value) if value is not None else None
    if found is None:
        return value
    try:
        return base64.b64decode(found[1], validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None


def as_header(text: str) -> str:
    """The inverse of :func:`header_text`: printable ASCII as it is, all else in base64."""
    if re.fullmatch(r"[\x20-\x7e]*", text) and text == text.strip() and not _BASE64.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode('utf-8', 'replace')).decode()}?="


def encoded(value: object) -> bytes:
    """JSON in UTF-8; a lone surrogate, which no reader could take, becomes ``?``."""
    return _encoder.encode(value).encode("utf-8", "replace")


def result_body(request_id: object, result: bytes) -> bytes:
    """The answer with a result that is JSON already."""
    return b'{"jsonrpc":"2.0","id":%s,"result":%s}' % (encoded(request_id), result)


def error_body(request_id: object, code: int, message: str, data: JsonObject | None = None) -> bytes:
    error: dict[str, object] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return encoded({"jsonrpc": "2.0", "id": request_id, "error": error})


def status_of(code: int, *, modern: bool) -> int:
    """The HTTP status of a JSON-RPC error: the modern era maps it, the handshake era only for what is no request."""
    if code in (PARSE_ERROR, INVALID_REQUEST):
        return 400
    if not modern:
        return 200
    if code == METHOD_NOT_FOUND:
        return 404
    return 400 if code in (INVALID_PARAMS, HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION) else 200
