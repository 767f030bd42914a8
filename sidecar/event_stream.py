"""The one event connection of a runner, shared by its turns."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from sidecar.errors import RunnerError
from sidecar.events import Ended, TurnEvent, TurnEvents, session_of
from sidecar.opencode_client import Json, OpencodeClient

log = logging.getLogger(__name__)
RECONNECT_S = 0.2
QUEUE_EVENTS = 10_000


class EventStream:
    """The one event connection of a runner, shared by its turns; it reconnects by itself until closed.

    ``heard_at`` is the monotonic time of the last event of any session.

    A subscriber receives the events of its session, and ``None`` after a gap: it then has to catch up.
    """

    def __init__(self, client: OpencodeClient) -> None:
        self._client = client
        self._subscribers: dict[str, asyncio.Queue[Json | None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self.heard_at = 0.0

    async def open(self, timeout_s: float = 10) -> None:
        """Returns when events flow. Raises ``RunnerError``; ``close`` ends it, and it can be opened again."""
        await self.close()
        self._connected.clear()
        self._task = asyncio.create_task(self._follow())
        try:
            async with asyncio.timeout(timeout_s):
                await self._connected.wait()
        except TimeoutError:
            raise RunnerError(
                "The agent engine sends no events. Send the message again.", reason="runner_lost"
            ) from None

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    @contextmanager
    def subscribe(self, session: str) -> Iterator[asyncio.Queue[Json | None]]:
        queue: asyncio.Queue[Json | None] = asyncio.Queue(QUEUE_EVENTS)
        self._subscribers[session] = queue
        try:
            yield queue
        finally:
            del self._subscribers[session]

    async def _follow(self) -> None:
        while True:
            try:
                async for event in self._client.events():
                    self._connected.set()
                    self.heard_at = time.monotonic()
                    self._deliver(event)
            except RunnerError as error:
                log.info("event stream: %s", error.detail)
            self._announce_gap()
            await asyncio.sleep(RECONNECT_S)

    def _deliver(self, event: Json) -> None:
        if event.get("type") == "server.connected":
            self._announce_gap()
            return
        properties = event.get("properties")
        session = session_of(properties) if isinstance(properties, dict) else None
        queue = self._subscribers.get(session) if isinstance(session, str) else None
        if queue is None:
            return
        if queue.full():
            log.warning("a turn reads its events too slowly; it catches up from the session")
            _replace_by_gap(queue)
        else:
            queue.put_nowait(event)

    def _announce_gap(self) -> None:
        for queue in self._subscribers.values():
            if queue.full():
                _replace_by_gap(queue)
            else:
                queue.put_nowait(None)


def _replace_by_gap(queue: asyncio.Queue[Json | None]) -> None:
    """What waits in the queue can be read from the session."""
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(None)


async def turn_events(
    queue: asyncio.Queue[Json | None], translator: TurnEvents, client: OpencodeClient
) -> AsyncIterator[TurnEvent]:
    """The translated events of one turn up to and with ``Ended``; a gap is closed by reading the session."""
    while True:
        event = await queue.get()
        if event is None:
            items = translator.catch_up(await client.messages(translator.session) or [])
        else:
            items = translator.feed(event)
        for item in items:
            yield item
            if isinstance(item, Ended):
                return
