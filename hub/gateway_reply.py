"""The HTTP answer to one gateway request, written straight to ASGI: one JSON document, or events once there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from hub.gateway_messages import JsonObject, encoded
from hub.text import clean

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = (b"content-type", b"application/json")
FIXED = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
EVENTS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
]
PING_S = 10.0
"""A silent call becomes an event stream after this time and gets a comment as often."""


class Reply:
    """Answer once with :meth:`finish`; before that, notifications may go out if the client takes events."""

    def __init__(self, send: Send, *, events: bool) -> None:
        self.events = events
        self._send = send
        self._streaming = False
        self._turn = asyncio.Lock()

    async def finish(self, status: int, body: bytes) -> None:
        """The one answer. The status is lost where events have gone out already."""
        async with self._turn:
            if self._streaming:
                await self._send({"type": "http.response.body", "body": _event(body), "more_body": False})
                return
            headers = [JSON, (b"content-length", b"%d" % len(body)), *FIXED] if body else list(FIXED)
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
            await self._send({"type": "http.response.body", "body": body})

    async def progress(self, token: str | int, params: JsonObject) -> None:
        """Pass a progress notification on, with the client's own token."""
        shown: dict[str, object] = {"progressToken": token}
        shown.update({key: params[key] for key in ("progress", "total") if isinstance(params.get(key), int | float)})
        if isinstance(params.get("message"), str):
            shown["message"] = clean(str(params["message"]), 500)
        if "progress" in shown:
            notification = {"jsonrpc": "2.0", "method": "notifications/progress", "params": shown}
            await self._stream(_event(encoded(notification)))

    async def ping(self) -> None:
        await self._stream(b": still here\n\n")

    async def _stream(self, chunk: bytes) -> None:
        if not self.events:
            return
        async with self._turn:
            if not self._streaming:
                self._streaming = True
                await self._send({"type": "http.response.start", "status": 200, "headers": EVENTS})
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})


def _event(data: bytes) -> bytes:
    return b"event: message\ndata: " + data + b"\n\n"


async def read_body(receive: Receive, limit: int) -> bytes | None:
    """The request's body; None when it is larger than ``limit`` or the client has gone."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
