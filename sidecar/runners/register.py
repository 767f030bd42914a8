"""Who has which live runner now. Whoever starts, ends or sets aside a runner holds its user's lock meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sidecar.cleanup import complete
from sidecar.errors import RunnerError
from sidecar.locks import KeyedLocks
from sidecar.runners.live import LiveRunner


class Register:
    """The live runners by user (workspace hash), and a lock for each user."""

    def __init__(self) -> None:
        self._live: dict[str, LiveRunner] = {}
        self._leaving = 0
        self._all_left = asyncio.Event()
        self._all_left.set()
        self._locks = KeyedLocks()
        self._delays: dict[str, str] = {}
        self._reasons: dict[str, str] = {}
        self._failures: dict[str, tuple[float, RunnerError]] = {}

    @property
    def live(self) -> tuple[LiveRunner, ...]:
        """The runners as they are now."""
        return tuple(self._live.values())

    def __len__(self) -> int:
        """How many there are, with those that are being stopped."""
        return len(self._live) + self._leaving

    async def all_left(self) -> None:
        """Returns when none is being stopped."""
        await self._all_left.wait()

    def lock(self, user: str) -> asyncio.Lock:
        return self._locks.of(user)

    def of(self, user: str) -> LiveRunner | None:
        return self._live.get(user)

    def named(self, name: str) -> LiveRunner | None:
        return next((live for live in self.live if live.spec.name == name), None)

    def add(self, live: LiveRunner) -> None:
        self._live[live.spec.workspace_hash] = live
        self._failures.pop(live.spec.workspace_hash, None)

    def note_failure(self, user: str, error: RunnerError) -> None:
        """A start has failed: it counts for all who waited for it."""
        self._failures[user] = (time.monotonic(), error)

    def check_failure(self, user: str, asked_at: float) -> None:
        """Raises what the last start of the user's has failed with, where that was after ``asked_at`` (monotonic).

        Else each of many turns would try in turn, and the last one would be told after as many deadlines.
        """
        failed_at, error = self._failures.get(user, (0.0, None))
        if error is not None and failed_at >= asked_at:
            raise RunnerError(error.message, reason=error.reason, detail="as for the turn before it")

    async def discard(self, user: str, reason: str = "") -> None:
        """Stops the user's runner, if there is one. It is counted until it is gone.

        ``reason`` is what the next turn says when it starts another. One that can't be stopped now stays the user's, as
        one that is gone: whoever needs it next tries again, and none is started beside it.
        """
        live = self._live.pop(user, None)
        if live is None:
            return
        if reason:
            self.note_reason(user, reason)
        self._leaving += 1
        self._all_left.clear()
        try:
            await complete(live.end())  # a container half removed would be nobody's
        except BaseException:
            self._live.setdefault(user, live)
            raise
        finally:
            self._leaving -= 1
            if not self._leaving:
                self._all_left.set()

    def drop(self, live: LiveRunner) -> None:
        """Forgets it, whether it is stopped or not."""
        if self._live.get(live.spec.workspace_hash) is live:
            del self._live[live.spec.workspace_hash]

    def note_reason(self, user: str, reason: str) -> None:
        """Why the user's runner will be started again, for the next turn to say; the first reason counts."""
        self._reasons.setdefault(user, reason)

    def take_reason(self, user: str) -> str:
        return self._reasons.pop(user, "")

    @contextmanager
    def delayed(self, user: str, why: str) -> Iterator[None]:
        """While inside, the user's other turns are told why they wait."""
        self._delays[user] = why
        try:
            yield
        finally:
            self._delays.pop(user, None)

    def delay(self, user: str) -> str:
        """Why a turn of the user's would have to wait now; empty where nothing is known."""
        return self._delays.get(user, "") if self.lock(user).locked() else ""
