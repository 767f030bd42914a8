"""The event stream: one event per revision, a comment while nothing happens, an end when the hub stops."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from hub.board import Board
from hub.errors import TooManyListenersError

HEARTBEAT_S = 10.0
MAX_LISTENERS = 200


class EventStreams:
    """All open streams; :meth:`close` ends them."""

    def __init__(self, board: Board, heartbeat_s: float = HEARTBEAT_S, max_listeners: int = MAX_LISTENERS) -> None:
        self._board = board
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

    async def listen(self) -> AsyncIterator[bytes]:
        """Server-sent events: ``event: revision`` with ``{"revision", "boot_id"}``, the present one first."""
        self._open += 1
        closing = asyncio.create_task(self._closing.wait())
        try:
            revision = self._board.revision
            yield self._event(revision)
            while not closing.done():
                change = asyncio.create_task(self._board.changed_since(revision))
                try:
                    await asyncio.wait((change, closing), timeout=self._heartbeat_s, return_when="FIRST_COMPLETED")
                    if change.done():
                        revision = change.result()
                        yield self._event(revision)
                    elif not closing.done():
                        yield b": still here\n\n"
                finally:
                    await _end(change)
        finally:
            self._open -= 1
            await _end(closing)

    def _event(self, revision: str) -> bytes:
        data = json.dumps({"revision": revision, "boot_id": self._board.boot_id})
        return f"event: revision\ndata: {data}\n\n".encode()


async def _end(task: asyncio.Task[str] | asyncio.Task[bool]) -> None:
    task.cancel()
    await asyncio.wait((task,))
