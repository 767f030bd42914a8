"""The programs of one integration by the settings that they were started with: one for all, or one for each user.

A key is a digest of the settings, made with a key that lives as long as the bridge, so that it tells nothing of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mcp_servers.kit.errors import MissingCredentials, UpstreamUnavailable
from mcp_servers.stdio.program import Program, StartFailed
from mcp_servers.stdio.recipe import Values

logger = logging.getLogger(__name__)

Start = Callable[[Values], Awaitable[Program]]


@dataclass(frozen=True)
class Bounds:
    """Seconds, and how many. ``wait_s``: how long a call waits for a start, which goes on beyond that."""

    idle_s: float = 300.0
    most: int = 20
    wait_s: float = 15.0
    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0
    stable_s: float = 10.0


@dataclass(eq=False)
class _Slot:
    values: Values = field(repr=False)
    program: Program | None = None
    starting: asyncio.Task[Program] | None = None
    users: int = 0
    used_at: float = 0.0
    began_at: float = 0.0
    failures: int = 0
    retry_at: float = 0.0
    problem: str = ""


class Pool:
    """Starts programs when they are asked for, ends idle ones, and never starts two for one set of settings."""

    def __init__(self, title: str, start: Start, bounds: Bounds | None = None) -> None:
        self._title = title
        self._start = start
        self._bounds = bounds or Bounds()
        self._key = secrets.token_bytes(32)
        self._slots: dict[str, _Slot] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._clock = asyncio.get_running_loop().time
        self._sweeper = asyncio.create_task(self._sweep(), name="idle programs")
        self._kept: asyncio.Task[None] | None = None
        self._lasting: _Slot | None = None

    def __len__(self) -> int:
        return len(self._slots)

    @asynccontextmanager
    async def use(self, values: Values) -> AsyncIterator[Program]:
        """The program of these settings, started if need be; several calls may use one at a time.

        Raises:
            UpstreamUnavailable: it does not start, is still starting, or there are too many.
            MissingCredentials: a value can't be given to it.
        """
        slot = self._slot(values)
        slot.users += 1
        try:
            yield await self._ready(slot)
        finally:
            slot.users -= 1
            slot.used_at = self._clock()

    def is_busy(self, values: Values) -> bool:
        """Whether the program of these settings runs, and works on a call."""
        slot = self._slots.get(self._key_of(values))
        if slot is None or slot.program is None or slot.program.ended.is_set():
            return False
        return slot.users > (slot is self._lasting)

    async def end(self, values: Values) -> None:
        """End the program of these settings, if nobody uses it."""
        key = self._key_of(values)
        slot = self._slots.get(key)
        if slot is not None and not slot.users:
            del self._slots[key]
            await _ended(slot)

    def keep(self, values: Values) -> None:
        """Keep the program of these settings running from now on, whether it is used or not."""
        self._lasting = self._slot(values)
        self._kept = asyncio.create_task(self._keep(self._lasting), name="kept program")

    async def close(self) -> None:
        """End all programs."""
        loops = [task for task in (self._sweeper, self._kept) if task is not None]
        for task in loops:
            task.cancel()
        await asyncio.wait(loops)
        slots, self._slots = list(self._slots.values()), {}
        await asyncio.gather(*map(_ended, slots), *self._tasks, return_exceptions=True)

    async def _keep(self, slot: _Slot) -> None:
        slot.users += 1  # never idle
        while True:
            try:
                program = slot.program
                if program is None:
                    program = await asyncio.shield(self._starting(slot))
                await program.ended.wait()
                self._note_end(slot)
            except StartFailed:
                pass
            except ValueError as error:
                logger.error("%s: not started: the setting %r begins with '-'", self._title, str(error))
                return
            await asyncio.sleep(max(0.0, slot.retry_at - self._clock()))

    async def _ready(self, slot: _Slot) -> Program:
        self._note_end(slot)
        if slot.program is not None:
            return slot.program
        wait_s = slot.retry_at - self._clock()
        if slot.starting is None and wait_s > 0:
            raise self._down(slot, wait_s)
        try:
            async with asyncio.timeout(self._bounds.wait_s):
                return await asyncio.shield(self._starting(slot))
        except StartFailed:
            raise self._down(slot, slot.retry_at - self._clock()) from None
        except ValueError as error:
            raise MissingCredentials(
                f"The setting {str(error)!r} begins with '-', which it must not.",
                what_to_do=f"Change it in the settings of the tool “Open Persona: {self._title}”.",
            ) from None
        except TimeoutError:
            raise UpstreamUnavailable(
                f"{self._title} is still starting; the first start can take a minute, because it may have to be "
                "fetched.",
                what_to_do="Try again in 20 seconds.",
            ) from None

    def _starting(self, slot: _Slot) -> asyncio.Task[Program]:
        """The one start that runs for this slot."""
        if slot.starting is None:
            slot.starting = asyncio.create_task(self._started(slot), name="start of a program")
            slot.starting.add_done_callback(_retrieved)
        return slot.starting

    async def _started(self, slot: _Slot) -> Program:
        try:
            slot.began_at = self._clock()
            slot.program = await self._start(slot.values)
        except StartFailed as error:
            self._note_failure(slot, str(error))
            raise
        finally:
            slot.starting = None
        logger.info("%s: a program runs (pid %d, %d in all)", self._title, slot.program.pid, len(self))
        return slot.program

    def _note_end(self, slot: _Slot) -> None:
        """A program that has gone counts as a failure unless it ran for a while; then the next one starts at once."""
        if slot.program is None or not slot.program.ended.is_set():
            return
        problem, slot.program = slot.program.problem, None
        if self._clock() - slot.began_at < self._bounds.stable_s:
            self._note_failure(slot, problem)
            return
        slot.failures = 0
        logger.error("%s: its program %s after a good while", self._title, problem)

    def _note_failure(self, slot: _Slot, problem: str) -> None:
        slot.failures += 1
        delay = min(self._bounds.longest_delay_s, self._bounds.first_delay_s * 2.0 ** min(slot.failures - 1, 10))
        slot.retry_at, slot.problem = self._clock() + delay, problem
        logger.error("%s: its program %s; next try in %.1f s at the earliest", self._title, problem, delay)

    def _down(self, slot: _Slot, wait_s: float) -> UpstreamUnavailable:
        return UpstreamUnavailable(
            f"{self._title} is not running: its program {slot.problem}.",
            what_to_do=f"Try again in {max(1, round(wait_s))} seconds; if it stays so, tell the operator of this "
            "deployment to read its log.",
        )

    def _slot(self, values: Values) -> _Slot:
        key = self._key_of(values)
        slot = self._slots.get(key)
        if slot is None:
            self._make_room()
            slot = self._slots[key] = _Slot(values, used_at=self._clock())
        return slot

    def _make_room(self) -> None:
        if len(self._slots) < self._bounds.most:
            return
        idle = [(slot.used_at, key) for key, slot in self._slots.items() if not slot.users]
        if not idle:
            raise UpstreamUnavailable(
                f"{self._title} is used by {self._bounds.most} people at this moment, which is as many as it serves.",
                what_to_do="Try again in a minute.",
            )
        self._leave(min(idle)[1])

    def _leave(self, key: str) -> None:
        """End a program aside."""
        task = asyncio.create_task(_ended(self._slots.pop(key)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._bounds.idle_s / 5)
            oldest = self._clock() - self._bounds.idle_s
            for key in [key for key, slot in self._slots.items() if not slot.users and slot.used_at < oldest]:
                self._leave(key)

    def _key_of(self, values: Values) -> str:
        shown = json.dumps(sorted((key, value.get_secret_value()) for key, value in values.items()))
        return hmac.new(self._key, shown.encode(), hashlib.sha256).hexdigest()


async def _ended(slot: _Slot) -> None:
    if slot.starting is not None:
        slot.starting.cancel()
        await asyncio.wait({slot.starting})
    if slot.program is not None:
        await slot.program.stop()


def _retrieved(task: asyncio.Task[Program]) -> None:
    """Nobody may be waiting for it any more."""
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()
