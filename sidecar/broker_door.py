"""The runner's side of a model call: its token, its body, whether it is still there, and what it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.types import Message, Receive, Send

from sidecar.broker_failures import Failure
from sidecar.broker_policy import Denied, TooBig
from sidecar.providers import Provider

BODY_S: Final = 30.0
EVENTS: Final = "text/event-stream; charset=utf-8"


class Gone(Exception):
    """The runner went away."""


def runner_token(request: Request) -> str:
    """The token of ``Authorization: Bearer`` or of ``x-api-key``; empty without one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else request.headers.get("x-api-key", "")


async def read_body(request: Request, limit: int) -> bytes:
    """Raises ``TooBig`` for a body over ``limit`` bytes, ``Denied`` where it does not arrive in time, and ``Gone``."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                body += message.get("body", b"")
                if len(body) > limit:
                    raise TooBig(limit)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise Denied("body slow") from None


async def disconnected(receive: Receive) -> None:
    """Returns when the runner has gone away; for use after the body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Reply:
    """The answer to opencode; nothing is sent before the first ``write`` or ``fail``. Every method raises ``Gone``."""

    def __init__(self, send: Send, provider: Provider) -> None:
        self._asgi = send
        self._provider = provider
        self.begun = False
        self._finished = False

    async def write(self, data: bytes, content_type: str = EVENTS) -> None:
        if not data:
            return
        if not self.begun:
            await self._begin(200, {"content-type": content_type})
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self) -> None:
        if self.begun and not self._finished:
            self._finished = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def fail(self, failure: Failure) -> None:
        """An error answer, or the error event that ends a stream which has begun."""
        if self._finished:
            return
        if self.begun:
            await self.write(failure.event(self._provider))
        else:
            status, headers, body = failure.answer(self._provider)
            await self._begin(status, headers)
            await self.write(body)
        await self.finish()

    async def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.begun = True
        pairs = [(name.encode(), value.encode()) for name, value in {**headers, "cache-control": "no-store"}.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def _send(self, message: Message) -> None:
        try:
            await self._asgi(message)
        except OSError:
            raise Gone from None
