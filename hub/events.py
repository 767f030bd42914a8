"""The event stream: one event per revision, a comment while nothing happens, an end when the hub stops.

Who asks for it is told of calls too: that there were some, at most once in :data:`CALLS_S`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from hub.board import Board
from hub.calls_log import CallsLog
from hub.errors import TooManyListenersError

HEARTBEAT_S = 10.0
MAX_LISTENERS = 200
CALLS_S = 1.0


class EventStreams:
    """All open streams; :meth:`close` ends them."""

    def __init__(
        self, board: Board, calls: CallsLog, heartbeat_s: float = HEARTBEAT_S, max_listeners: int = MAX_LISTENERS
    ) -> None:
        self._board = board
        self._calls = calls
        self._heartbeat_s = heartbeat_s
        self._max = max_listeners
        self._closing = asyncio.Event()
        self._open = 0

    def admit(self) -> None:
        """Raises TooManyListenersError when no further stream may open."""
        if self._open >= self._max:
            raise TooManyListenersError(self._max)

    def close(self) -> None:
        self._closing.set()

    async def listen(self, *, calls: bool = False) -> AsyncIterator[bytes]:
        """Server-sent events: ``event: revision`` with ``{"revision", "boot_id"}``, the present one first.

        With ``calls`` also ``event: calls`` with ``{"count"}`` after calls.
        """
        self._open += 1
        closing = asyncio.create_task(self._closing.wait())
        called = asyncio.create_task(self._calls_beyond(self._calls.count)) if calls else None
        try:
            revision = self._board.revision
            yield self._event(revision)
            while not closing.done():
                change = asyncio.create_task(self._board.changed_since(revision))
                awaited = {change, closing, *([called] if called else [])}
                try:
                    await asyncio.wait(awaited, timeout=self._heartbeat_s, return_when="FIRST_COMPLETED")
                    if change.done():
                        revision = change.result()
                        yield self._event(revision)
                    elif called and called.done():
                        count = called.result()
                        called = asyncio.create_task(self._calls_beyond(count))
                        yield b'event: calls\ndata: {"count": %d}\n\n' % count
                    elif not closing.done():
                        yield b": still here\n\n"
                finally:
                    await _end(change)
        finally:
            self._open -= 1
            await _end(closing, *([called] if called else []))

    async def _calls_beyond(self, count: int) -> int:
        await self._calls.beyond(count)
        await asyncio.sleep(CALLS_S)
        return self._calls.count

    def _event(self, revision: str) -> bytes:
        data = json.dumps({"revision": revision, "boot_id": self._board.boot_id})
        return f"event: revision\ndata: {data}\n\n".encode()


async def _end(*tasks: asyncio.Task[str] | asyncio.Task[bool] | asyncio.Task[int]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
