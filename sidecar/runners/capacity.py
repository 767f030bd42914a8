"""How many users can be served at once, how many runners start at once, and when it is worth asking again."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from statistics import median

from sidecar.errors import Overloaded
from sidecar.runners.live import Say

ADMITTED_S = 10.0
"""How long a place is kept for a turn that was let in and has not begun: its client may have left in between."""

START_S = 5.0
TURN_S = 30.0
"""What a start and a turn are thought to take while none has been seen."""

RETRY_S = (5, 60)
REMEMBERED = 50


def retry_after(*, start_s: float, queued: int, slots: int, next_end_s: float, spread: float) -> int:
    """Whole seconds until it is worth asking again: those who wait start first, then a turn has to end.

    ``next_end_s`` is when the next running turn may end, ``spread`` (0 to 1) keeps those who were refused together from
    coming back together. Between 5 and 60.
    """
    low, high = RETRY_S
    wait = max(queued * start_s / slots + next_end_s, low) * (1 + 0.3 * spread)
    return round(min(wait, high))


@dataclass(eq=False)
class _Ticket:
    say: Say
    called: asyncio.Event = field(default_factory=asyncio.Event)


class Capacity:
    """``places`` users can be in turns at once; ``slots`` runners can start at once, in the order of asking."""

    def __init__(self, places: int, slots: int) -> None:
        self._places = places
        self._slots = slots
        self._holders: Counter[str] = Counter()
        self._admitted: dict[str, float] = {}
        self._queue: list[_Ticket] = []
        self._begun: dict[object, float] = {}
        self._starts: deque[float] = deque(maxlen=REMEMBERED)
        self._turns: deque[float] = deque(maxlen=REMEMBERED)

    def admit(self, user: str) -> None:
        """Keeps a place for a turn of ``user`` until it begins. Raises ``Overloaded`` where others have them all."""
        busy = self.busy
        if user not in busy and len(busy) >= self._places:
            seconds = self._retry_after()
            raise Overloaded(f"All workspaces are in use. Try again in about {seconds} seconds.", retry_after_s=seconds)
        self._admitted[user] = time.monotonic() + ADMITTED_S

    @property
    def busy(self) -> frozenset[str]:
        """The users who have a place: in a turn, waiting for a start, or just let in."""
        now = time.monotonic()
        self._admitted = {user: until for user, until in self._admitted.items() if until > now}
        return frozenset(self._holders) | frozenset(self._admitted)

    @contextmanager
    def holding(self, user: str) -> Iterator[None]:
        """A turn of ``user``, who has a place inside."""
        self._admitted.pop(user, None)
        self._holders[user] += 1
        key, begun = object(), time.monotonic()
        self._begun[key] = begun
        try:
            yield
        finally:
            del self._begun[key]
            self._turns.append(time.monotonic() - begun)
            self._holders[user] -= 1
            if not self._holders[user]:
                del self._holders[user]

    @property
    def starting(self) -> int:
        """How many start now."""
        return min(len(self._queue), self._slots)

    @asynccontextmanager
    async def start_slot(self, say: Say) -> AsyncIterator[None]:
        """One of the slots for starting; ``say`` hears how many come first, whenever that changes."""
        ticket = _Ticket(say)
        self._queue.append(ticket)
        self._call(said_to=ticket)
        try:
            await ticket.called.wait()
            begun = time.monotonic()
            yield
            self._starts.append(time.monotonic() - begun)
        finally:
            self._queue.remove(ticket)
            self._call()

    def _call(self, said_to: _Ticket | None = None) -> None:
        for ticket in self._queue[: self._slots]:
            ticket.called.set()
        for before, ticket in enumerate(self._queue):
            if before >= self._slots and said_to in (None, ticket):
                ticket.say(f"Starting your workspace … {before} before you")

    def _retry_after(self) -> int:
        oldest = min(self._begun.values(), default=time.monotonic())
        expected = median(self._turns) if self._turns else TURN_S
        return retry_after(
            start_s=median(self._starts) if self._starts else START_S,
            queued=max(0, len(self._queue) - self._slots),
            slots=self._slots,
            next_end_s=max(0.0, expected - (time.monotonic() - oldest)),
            spread=random.random(),  # noqa: S311 - no secret
        )
