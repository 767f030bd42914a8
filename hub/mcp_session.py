"""Enough of an MCP client for a health check, in both protocol eras.

Message and header shapes: MCP specification 2026-07-28 (per-request ``_meta`` envelope, ``server/discover``) and
2025-11-25 (``initialize``, ``Mcp-Session-Id``), as spoken by the official SDK 2.3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import aiohttp

from hub.actions import OAUTH
from hub.errors import ProbeError
from hub.mcp_http import Answer, Budget, JsonObject, exchange
from hub.redaction import NOTHING, Redaction
from hub.text import clean
from hub.tools import Tool, read_tool
from hub.wire import Reason

MODERN_VERSION = "2026-07-28"
HANDSHAKE_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
METHOD_NOT_FOUND = -32601
INTERNAL_ERROR = -32603

MAX_TOOLS = 1000
MAX_PAGES = 50

_CLIENT_INFO = {"name": "open-persona-hub", "version": "1"}
_ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": _CLIENT_INFO,
}


class McpSession:
    """A conversation with one server: ``discover``, else ``initialize``; then ``list_tools``; at last ``close``.

    ``protocol`` is the agreed revision, empty before that. ``extra`` headers go with every request; what ``redaction``
    takes out is in no answer. Every method may raise ProbeError and aiohttp.ClientError.
    """

    def __init__(
        self,
        client: aiohttp.ClientSession,
        url: str,
        budget: Budget,
        extra: Mapping[str, str] | None = None,
        redaction: Redaction = NOTHING,
    ) -> None:
        self.protocol = ""
        self._client = client
        self._url = url
        self._budget = budget
        self._extra = dict(extra or {})
        self._redaction = redaction
        self._session_id = ""
        self._last_id = 0

    async def discover(self) -> bool:
        """Whether the server speaks the modern era.

        Like the SDK's own client, anything but positive evidence means the handshake era, so that an error status is
        reported by what ``initialize`` is answered; credentials (401, 403) and host names (421) are final at once.
        """
        answer = await self._modern("server/discover", {})
        if answer.status in (401, 403, 421):
            raise of_status(answer, "server/discover")
        if answer.result is None:
            _refuse_unknown_modern(answer)
            return False
        versions = answer.result.get("supportedVersions")
        if isinstance(versions, list) and MODERN_VERSION in versions:
            self.protocol = MODERN_VERSION
            return True
        return False

    async def initialize(self) -> None:
        """The handshake of the older era; remembers the session to delete."""
        params = {"protocolVersion": HANDSHAKE_VERSIONS[-1], "capabilities": {}, "clientInfo": _CLIENT_INFO}
        answer = await self._send("initialize", params, self._extra)
        self._session_id = answer.session_id if answer.session_id.isprintable() else ""
        result = _result(answer, "initialize")
        version = result.get("protocolVersion")
        if version not in HANDSHAKE_VERSIONS:
            raise ProbeError("bad_protocol", f"unknown protocol version {clean(str(version), 40)!r}")
        self.protocol = str(version)
        message = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        noted = await exchange(self._client, self._url, message, self.headers(), self._budget)
        if noted.status >= 300:
            raise of_status(noted, "notifications/initialized")

    async def list_tools(self) -> tuple[Tool, ...]:
        """All pages of ``tools/list``, in the server's order."""
        tools: dict[str, Tool] = {}
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            page, cursor = await self._page(cursor)
            for raw in page:
                tool = read_tool(raw)
                if tool.name in tools:
                    raise ProbeError("bad_protocol", f"tools/list has {tool.name!r} twice")
                tools[tool.name] = tool
            if len(tools) > MAX_TOOLS:
                raise ProbeError("too_large", f"the server lists more than {MAX_TOOLS} tools")
            if cursor is None:
                return tuple(tools.values())
            if cursor in seen:
                raise ProbeError("bad_protocol", "tools/list gives the same cursor again and never ends")
            seen.add(cursor)
        raise ProbeError("too_large", f"tools/list has more than {MAX_PAGES} pages")

    async def close(self) -> None:
        """Delete the session, if there is one: a server may keep it for hours otherwise."""
        if not self._session_id:
            return
        headers, self._session_id = self.headers(), ""
        async with self._client.delete(self._url, headers=headers, allow_redirects=False):
            pass

    async def _page(self, cursor: str | None) -> tuple[list[object], str | None]:
        params: dict[str, object] = {"cursor": cursor} if cursor is not None else {}
        if self.protocol == MODERN_VERSION:
            answer = await self._modern("tools/list", params)
        else:
            answer = await self._send("tools/list", params, self.headers())
        if answer.error and answer.error.get("code") == METHOD_NOT_FOUND:
            return [], None
        result = _result(answer, "tools/list")
        page, following = result.get("tools"), result.get("nextCursor")
        if not isinstance(page, list):
            raise ProbeError("bad_protocol", "the answer to tools/list has no list of tools")
        return page, following if isinstance(following, str) else None

    async def _modern(self, method: str, params: JsonObject) -> Answer:
        headers = {**self._extra, "MCP-Protocol-Version": MODERN_VERSION, "Mcp-Method": method}
        return await self._send(method, {**params, "_meta": _ENVELOPE}, headers)

    async def _send(self, method: str, params: JsonObject, headers: Mapping[str, str]) -> Answer:
        self._last_id += 1
        message = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}
        return self._redacted(await exchange(self._client, self._url, message, headers, self._budget))

    def _redacted(self, answer: Answer) -> Answer:
        """A server that repeats a key of the operator's must not have it on the page or in a model's context."""
        if answer.message is None or self._redaction is NOTHING:
            return answer
        body = json.dumps(answer.message, ensure_ascii=False).encode("utf-8", "replace")
        clean_body = self._redaction.of_json(body)
        return answer if clean_body is body else replace(answer, message=json.loads(clean_body))

    def headers(self) -> dict[str, str]:
        """What a request of the handshake era carries after ``initialize``."""
        headers = {**self._extra, "MCP-Protocol-Version": self.protocol} if self.protocol else self._extra
        return {**headers, "Mcp-Session-Id": self._session_id} if self._session_id else headers


def wants_oauth(challenge: str) -> bool:
    """Whether a ``WWW-Authenticate`` points to an authorization server (RFC 9728)."""
    return "resource_metadata" in challenge.lower()


def of_status(answer: Answer, request: str) -> ProbeError:
    """The failure that an answer of HTTP status 300 or more means."""
    status = answer.status
    said = f"{request} was answered {status}"
    if status == 401 and wants_oauth(answer.challenge):
        return ProbeError("auth", f"{said}: it needs OAuth, which is not supported yet", OAUTH)
    if status in (401, 403):
        return ProbeError("auth", said)
    if status == 404:
        return ProbeError("not_found", said)
    if status == 421:
        return ProbeError("host_rejected", f"{said} (host not accepted)")
    if status < 400:
        return ProbeError("http_error", f"{said}: a redirect, which is not followed")
    return ProbeError("http_error", said + _said(answer))


def _result(answer: Answer, request: str) -> JsonObject:
    if answer.status >= 300:
        raise of_status(answer, request)
    if answer.result is None:
        failed = answer.error is not None and answer.error.get("code") == INTERNAL_ERROR
        reason: Reason = "http_error" if failed else "bad_protocol"
        raise ProbeError(reason, f"{request} was answered with an error{_said(answer)}")
    return answer.result


def _said(answer: Answer) -> str:
    if answer.error is None:
        return ""
    return clean(f": {answer.error.get('code')} {answer.error.get('message', '')}", 160)


def _refuse_unknown_modern(answer: Answer) -> None:
    """A server that names only protocol versions this hub does not know can't be served by the handshake either."""
    data = answer.error.get("data") if answer.error else None
    supported = data.get("supported") if isinstance(data, dict) else None
    if (
        isinstance(supported, list)
        and supported
        and not {MODERN_VERSION, *HANDSHAKE_VERSIONS} & set(map(str, supported))
    ):
        raise ProbeError("bad_protocol", clean(f"the server speaks only protocol versions {supported}", 160))
