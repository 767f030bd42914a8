"""One HTTP/1.1 connection to a backend: an exchange at a time, its body as it comes, bounded in memory.

Parsing is httptools'. Time is the caller's business, but for the moment in which an answer's end may follow what was
read of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import cast

import httptools

from hub.errors import BackendGarbledError, BackendLostError

DRAIN_S = 0.1
"""How long the end of an answer that is not read further may take, for the connection to be used again."""

MAX_HEAD_BYTES = 64 * 1024
"""What may come in a row that is no body: the head, interim answers before it, chunk extensions, trailers."""

PAUSE_BYTES = 256 * 1024
"""A connection stops reading while so much is waiting to be taken."""


class Connection(asyncio.Protocol):
    """One connection. ``ended`` is called once, when its exchange is over; ``reusable`` says what became of it."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.reusable = False
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._lost = False
        self._headers: dict[bytes, bytes] = {}
        self._chunks: deque[bytes] = deque()
        self._fault: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._drain: asyncio.TimerHandle | None = None
        self._begin(None)
        self._whole = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its bases

    @property
    def alive(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def _sent(self) -> bool:
        return self._transport is not None and self.alive and not self._transport.get_write_buffer_size()

    def send(self, request: bytes, ended: Callable[[Connection], None]) -> None:
        """Begin an exchange on a connection that is ``alive`` and has none."""
        assert self._transport is not None
        self._begin(ended)
        self._transport.write(request)

    async def head(self) -> tuple[int, Mapping[bytes, bytes]]:
        """Status and headers (names in lower case) of the answer."""
        while not self._headed:
            await self._more()
        return self._status, self._headers

    async def chunk(self) -> bytes:
        """What came next of the body; empty at its end."""
        while not self._chunks:
            if self._whole:
                return b""
            await self._more()
        chunk = self._chunks.popleft()
        self._waiting -= len(chunk)
        if self._paused and self._waiting < PAUSE_BYTES:
            self._pause(now=False)
        return chunk

    def leave(self) -> None:
        """Read no further: the connection is kept if the answer's end is there or follows at once."""
        self._left = True
        if self._whole:
            self._end(reusable=self._keep)
        elif self.alive:
            self._chunks.clear()
            self._pause(now=False)
            self._drain = asyncio.get_running_loop().call_later(DRAIN_S, self.close)
        else:
            self._end(reusable=False)

    def close(self) -> None:
        """End the exchange and the connection."""
        if self._transport is not None:
            self._transport.abort()
        self._end(reusable=False)

    # What the transport and the parser call.

    def data_received(self, data: bytes) -> None:
        if self._whole:  # nobody asked for it
            self._keep = False
            self.close()
            return
        self._begun = True
        self._framing += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(BackendGarbledError("the answer is not HTTP"))
            return
        if self._framing > MAX_HEAD_BYTES and not self._whole:
            self._fail(BackendGarbledError("the answer's headers are too large"))
        elif self._waiting > PAUSE_BYTES and not self._whole:
            if self._left:
                self.close()
            else:
                self._pause(now=True)
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if not self._whole and self._headed and self._until_close and exc is None:
            self._whole, self._keep = True, False
        if not self._whole and self._fault is None:
            self._fault = BackendLostError(unanswered=not self._begun)
        if self._left:
            self._end(reusable=False)
        self._wake()

    def on_message_begin(self) -> None:
        if self._whole and self._transport is not None:  # a second answer to one question
            self._keep = False
            self._transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._whole and not self._headed:  # trailers say nothing that is used
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._whole:
            return
        self._status = self._parser.get_status_code()
        if self._status < 200:  # an interim answer; the real one follows
            return
        self._until_close = (
            b"content-length" not in self._headers
            and b"transfer-encoding" not in self._headers
            and self._status not in (204, 304)
        )
        self._headed = True

    def on_body(self, body: bytes) -> None:
        if self._whole:
            return
        self._framing = 0
        self._waiting += len(body)
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        if self._status < 200:
            self._headers = {}
            return
        if self._whole:
            return
        self._whole, self._keep = True, self._parser.should_keep_alive()
        if self._left:
            self._end(reusable=self._keep)

    def _begin(self, ended: Callable[[Connection], None] | None) -> None:
        self._ended = ended
        self._headed = self._whole = self._keep = self._until_close = self._left = self._paused = False
        self._begun = False
        self._status = self._framing = self._waiting = 0
        self._headers = {}
        self._chunks = deque()
        self._fault = self._waiter = self._drain = None

    def _end(self, *, reusable: bool) -> None:
        if self._drain is not None:
            self._drain.cancel()
        ended, self._ended = self._ended, None
        if ended is not None:
            # Behind an answer that came before its request was taken, the next request would wait for the rest of it.
            self.reusable = reusable and self._sent
            if not self.reusable and self._transport is not None:
                self._transport.abort()
            ended(self)

    async def _more(self) -> None:
        if self._fault is None and self._lost:
            self._fault = BackendLostError(unanswered=not self._begun)
        if self._fault is not None:
            raise self._fault
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, fault: Exception) -> None:
        self._fault = fault
        self.close()
        self._wake()

    def _pause(self, *, now: bool) -> None:
        if self._transport is None or now == self._paused or self._transport.is_closing():
            return
        self._paused = now
        if now:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
