"""Arguments that a tool wants repeated as headers: ``x-mcp-header`` in its input schema (MCP 2026-07-28).

The headers sent on are made of the body alone. A runner that sends its own must agree with the body.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hub.errors import RpcError
from hub.gateway_messages import HEADER_MISMATCH, JsonObject, RawHeaders, as_header, header_text

PREFIX = "mcp-param-"
_TOKEN_CHARS = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
MAX_DEPTH = 8


@dataclass(frozen=True)
class ParamHeader:
    """The argument at ``path`` goes as the header ``mcp-param-<token>``."""

    path: tuple[str, ...]
    token: str


def param_headers(schema: JsonObject) -> tuple[ParamHeader, ...]:
    """What an input schema declares; nothing if two declarations clash."""
    found = tuple(_declared(schema, ()))
    return found if len({one.token.lower() for one in found}) == len(found) else ()


def headers_for(declared: Sequence[ParamHeader], arguments: JsonObject) -> dict[str, str]:
    """The headers (lower case) that these arguments give."""
    texts = ((one, _text(arguments, one.path)) for one in declared)
    return {PREFIX + one.token.lower(): as_header(text) for one, text in texts if text is not None}


def check_sent(declared: Sequence[ParamHeader], expected: Mapping[str, str], raw: RawHeaders) -> None:
    """Raises RpcError where the request's own headers for declared arguments differ from its body."""
    names = {PREFIX + one.token.lower() for one in declared}
    sent = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw if name.startswith(b"mcp-param-")]
    given = [(name, header_text(value)) for name, value in sent if name in names]
    if len(dict(given)) != len(given) or dict(given) != {name: header_text(text) for name, text in expected.items()}:
        raise RpcError(HEADER_MISMATCH, "An Mcp-Param header differs from the body, or is missing")


def _declared(schema: JsonObject, path: tuple[str, ...]) -> Iterator[ParamHeader]:
    properties = schema.get("properties")
    if not isinstance(properties, dict) or len(path) >= MAX_DEPTH:
        return
    for name, part in properties.items():
        if not isinstance(part, dict):
            continue
        token = part.get("x-mcp-header")
        usable = isinstance(token, str) and token and set(token) <= _TOKEN_CHARS
        if usable and part.get("type") in ("string", "integer", "boolean"):
            yield ParamHeader((*path, name), str(token))
        yield from _declared(part, (*path, name))


def _text(arguments: JsonObject, path: tuple[str, ...]) -> str | None:
    node: object = arguments
    for key in path:
        node = node.get(key) if isinstance(node, dict) else None
    if isinstance(node, bool):
        return "true" if node else "false"
    if isinstance(node, float) and node.is_integer():
        return str(int(node))
    return str(node) if isinstance(node, str | int | float) else None
