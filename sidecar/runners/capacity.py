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

RETRY_S = (5, 180)
LATE_S = 30.0
"""How late somebody may come who was told when, and still be before those who were refused after them."""

REMEMBERED = 50


def retry_after(*, next_end_s: float, ahead: int, each_s: float, spread: float) -> int:
    """Whole seconds until a place is likely: the next one, and one more for each of those who come first.

    ``next_end_s`` is when the next turn may end, ``each_s`` what lies between one end and the next. ``spread`` (0 to 1)
    keeps apart who would come together. Between 5 and 180.
    """
    low, high = RETRY_S
    wait = min((next_end_s + ahead * each_s) * (1 + 0.1 * spread), high * (1 - 0.3 * spread))
    return round(max(wait, low * (1 + 0.3 * spread)))


@dataclass(eq=False)
class _Ticket:
    user: str
    say: Say
    called: asyncio.Event = field(default_factory=asyncio.Event)


class Capacity:
    """``places`` users can be in turns at once; ``slots`` runners can start at once, in the order of asking."""

    def __init__(self, places: int, slots: int) -> None:
        self._places = places
        self._slots = slots
        self._holders: Counter[str] = Counter()
        self._admitted: dict[str, list[float]] = {}
        self._line: dict[str, float] = {}
        self._queue: list[_Ticket] = []
        self._begun: dict[str, float] = {}
        self._starts: deque[float] = deque(maxlen=REMEMBERED)
        self._turns: deque[float] = deque(maxlen=REMEMBERED)

    def admit(self, user: str) -> None:
        """Keeps a place for a turn of ``user`` until it begins. Raises ``Overloaded`` where others have them all."""
        busy = self.busy
        if user not in busy and len(busy) >= self._places:
            seconds = self._retry_after(user)
            raise Overloaded(f"All workspaces are in use. Try again in about {seconds} seconds.", retry_after_s=seconds)
        self._line.pop(user, None)
        self._admitted.setdefault(user, []).append(time.monotonic() + ADMITTED_S)

    @property
    def busy(self) -> frozenset[str]:
        """The users who have a place: in a turn, waiting for a start, or just let in."""
        now = time.monotonic()
        kept = ((user, [until for until in ends if until > now]) for user, ends in self._admitted.items())
        self._admitted = {user: ends for user, ends in kept if ends}
        return frozenset(self._holders) | frozenset(self._admitted)

    @contextmanager
    def holding(self, user: str) -> Iterator[None]:
        """A turn of ``user``, who has a place inside."""
        if admitted := self._admitted.get(user):
            admitted.pop(0)
        self._holders[user] += 1
        self._begun.setdefault(user, time.monotonic())
        try:
            yield
        finally:
            self._holders[user] -= 1
            if not self._holders[user]:
                del self._holders[user]
                self._turns.append(time.monotonic() - self._begun.pop(user))

    @property
    def starting(self) -> frozenset[str]:
        """The users whose runners start now: no more than there are slots."""
        return frozenset(ticket.user for ticket in self._queue[: self._slots])

    @asynccontextmanager
    async def start_slot(self, user: str, say: Say) -> AsyncIterator[None]:
        """One of the slots for starting; ``say`` hears how many come first, whenever that changes."""
        ticket = _Ticket(user, say)
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

    def _retry_after(self, user: str) -> int:
        """What ``user`` is told: those who were refused stand in line, by their first time, until they are late."""
        now = time.monotonic()
        self._line = {who: due for who, due in self._line.items() if due > now - LATE_S}
        held_s = median(self._turns) if self._turns else TURN_S
        start_s = median(self._starts) if self._starts else START_S
        oldest = min(self._begun.values(), default=now)
        line = list(self._line)
        seconds = retry_after(
            next_end_s=max(0.0, held_s - (now - oldest)),
            ahead=line.index(user) if user in line else len(line),
            each_s=max(held_s / self._places, start_s / self._slots),
            spread=random.random(),  # noqa: S311 - no secret
        )
        self._line[user] = now + seconds
        return seconds
