"""One JSON-RPC exchange with an MCP server over streamable HTTP, bounded in bytes.

Both body forms are read: one JSON document, or an event stream that carries the answer among notifications.
Redirects are not followed, compressed bodies are not asked for. Time is the caller's business.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass

import aiohttp

from hub.addresses import GuardedResolver
from hub.errors import ProbeError
from hub.text import clean

JsonObject = Mapping[str, object]

MAX_ERROR_BYTES = 64 * 1024
"""What is read of the body of an error answer."""


@dataclass
class Budget:
    """Bytes that may still be read of a server's answers."""

    left: int

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise ProbeError("too_large", "the server's answers are larger than the hub reads in one check")


@dataclass(frozen=True)
class Answer:
    """``message`` is the JSON-RPC answer, None when an error status came with no such body.

    ``challenge`` is the ``WWW-Authenticate`` of an error status.
    """

    status: int
    session_id: str
    message: JsonObject | None
    challenge: str = ""

    @property
    def error(self) -> JsonObject | None:
        error = self.message.get("error") if self.message else None
        return error if isinstance(error, dict) else None

    @property
    def result(self) -> JsonObject | None:
        result = self.message.get("result") if self.message else None
        return result if isinstance(result, dict) else None


def open_client() -> aiohttp.ClientSession:
    """The one HTTP client of the hub: no cookies, no proxies, no limit just checked addresses."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2, resolver=GuardedResolver()),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity", "User-Agent": "open-persona-hub"},
    )


async def exchange(
    client: aiohttp.ClientSession, url: str, message: JsonObject, headers: Mapping[str, str], budget: Budget
) -> Answer:
    """POST ``message`` and read its answer; a notification (no ``id``) has none.

    Raises:
        ProbeError: ``too_large``, or ``bad_protocol`` for a success status without a JSON-RPC answer.
        aiohttp.ClientError: the connection failed or the peer does not speak HTTP.
    """
    sent = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **headers}
    async with client.post(url, data=json.dumps(message), headers=sent, allow_redirects=False) as response:
        session_id = response.headers.get("Mcp-Session-Id", "")
        if response.status >= 300:
            challenge = response.headers.get("WWW-Authenticate", "")
            return Answer(response.status, session_id, await _error_body(response), challenge)
        if "id" not in message:
            return Answer(response.status, session_id, None)
        if response.content_type == "text/event-stream":
            return Answer(response.status, session_id, await _answer_among_events(response, message["id"], budget))
        body = bytearray()
        async for chunk in response.content.iter_any():
            budget.spend(len(chunk))
            body += chunk
        return Answer(response.status, session_id, _rpc_object(bytes(body), message["id"]))


async def _error_body(response: aiohttp.ClientResponse) -> JsonObject | None:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ERROR_BYTES:
            return None
    parsed = _json_object(bytes(body))
    return parsed if parsed is not None and parsed.get("jsonrpc") == "2.0" else None


async def _answer_among_events(response: aiohttp.ClientResponse, wanted: object, budget: Budget) -> JsonObject:
    async for data in event_data(response.content.iter_any(), budget):
        message = _json_object(data)
        if message is None:
            raise ProbeError("bad_protocol", "an event of the answer is not a JSON object")
        if message.get("id") == wanted and ("result" in message or "error" in message):
            return message
    raise ProbeError("bad_protocol", "the event stream ended without the answer")


async def event_data(chunks: AsyncIterable[bytes], budget: Budget) -> AsyncIterator[bytes]:
    """The data of each server-sent event in a body; comments and other fields are skipped.

    So is an event without data: servers that keep events send one first, for a client that would come again.
    """
    pending = bytearray()
    data: list[bytes] = []
    async for chunk in chunks:
        budget.spend(len(chunk))
        pending += chunk
        if b"\n" not in chunk:
            continue
        *lines, rest = bytes(pending).split(b"\n")
        pending = bytearray(rest)
        for raw in lines:
            line = raw.rstrip(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].strip())
            elif not line and data:
                if event := b"\n".join(data):
                    yield event
                data = []


def _rpc_object(body: bytes, wanted: object) -> JsonObject:
    message = _json_object(body)
    if message is None:
        start = clean(body[:60].decode("utf-8", "replace"), 60)
        raise ProbeError("bad_protocol", f"the answer is not a JSON object; it starts with {start!r}")
    if message.get("jsonrpc") != "2.0" or message.get("id") != wanted:
        raise ProbeError("bad_protocol", "the answer is JSON, but not the JSON-RPC answer to the request")
    return message


def _json_object(body: bytes) -> JsonObject | None:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
