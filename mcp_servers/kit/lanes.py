"""How fast and how much at once each credential may call: a lane per credential."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp_servers.kit.clock import Clock, Deadline
from mcp_servers.kit.errors import RateLimited, UpstreamTimeout

MAX_LANES = 1000


class _Lane:
    def __init__(self, rate: float, burst: int, concurrency: int, now: float) -> None:
        self._interval = 1 / rate
        self._slack = (burst - 1) * self._interval
        self._free_at = now - self._slack
        self.users = 0
        self.slots = asyncio.Semaphore(concurrency)

    def wait_s(self, now: float) -> float:
        """Seconds until the next token is there."""
        return max(0.0, self._free_at - now)

    def take(self, now: float) -> None:
        self._free_at = max(self._free_at, now - self._slack) + self._interval


class Lanes:
    """A token bucket (``rate`` per second, ``burst`` at once) and ``concurrency`` slots for each key.

    At most ``MAX_LANES`` are remembered; an idle one is forgotten first.
    """

    def __init__(self, *, rate: float, burst: int, concurrency: int, clock: Clock) -> None:
        self._rate, self._burst, self._concurrency, self._clock = rate, burst, concurrency, clock
        self._lanes: OrderedDict[str, _Lane] = OrderedDict()

    @asynccontextmanager
    async def slot(self, key: str, deadline: Deadline) -> AsyncIterator[None]:
        """Hold one slot of ``key`` for the block.

        Raises RateLimited if the next token comes after ``deadline``, UpstreamTimeout if no slot gets free before it.
        """
        lane = self._lane(key)
        lane.users += 1
        try:
            try:
                async with asyncio.timeout(deadline.remaining()):
                    await lane.slots.acquire()
            except TimeoutError as error:
                raise UpstreamTimeout("Earlier calls have not ended yet.") from error
            try:
                await self._token(lane, deadline)
                yield
            finally:
                lane.slots.release()
        finally:
            lane.users -= 1

    async def _token(self, lane: _Lane, deadline: Deadline) -> None:
        now = self._clock.monotonic()
        wait = lane.wait_s(now)
        if wait > deadline.remaining():
            raise RateLimited("Too many calls in a short time.", retry_after_s=wait)
        lane.take(now)
        if wait > 0:
            await self._clock.sleep(wait)

    def _lane(self, key: str) -> _Lane:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(self._rate, self._burst, self._concurrency, self._clock.monotonic())
            self._trim()
        self._lanes.move_to_end(key)
        return lane

    def _trim(self) -> None:
        for key in list(self._lanes)[: max(0, len(self._lanes) - MAX_LANES)]:
            if self._lanes[key].users == 0:
                del self._lanes[key]
