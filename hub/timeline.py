"""Health over the last 24 hours, kept as a few stretches of time instead of thousands of checks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from hub.wire import Health

WINDOW = timedelta(hours=24)
MAX_STRETCHES = 2000
"""An integration that flaps more often than this in 24 h loses its oldest stretches."""


@dataclass
class Stretch:
    """Time in which nothing changed; ``ok`` is whether the checks succeeded."""

    start: datetime
    end: datetime
    ok: bool
    health: Health


@dataclass(frozen=True)
class Bar:
    """One slice of the window: the worst health in it (None: not observed) and the share of good time."""

    start: datetime
    health: Health | None
    uptime: float | None


_WORST: tuple[Health, ...] = ("down", "degraded", "starting", "healthy")


class Timeline:
    """Stretches of one integration. A silence longer than ``max_gap_s`` was not observed and counts for nothing."""

    def __init__(self, max_gap_s: float) -> None:
        self.max_gap_s = max_gap_s
        self._stretches: deque[Stretch] = deque(maxlen=MAX_STRETCHES)

    def add(self, at: datetime, ok: bool, health: Health) -> None:
        """Note a check; checks come in order of time."""
        last = self._stretches[-1] if self._stretches else None
        if last and timedelta(0) <= at - last.end <= timedelta(seconds=self.max_gap_s):
            last.end = at
            if (last.ok, last.health) == (ok, health):
                return
        self._stretches.append(Stretch(at, at, ok, health))
        while self._stretches[0].end < at - WINDOW:
            self._stretches.popleft()

    def uptime(self, now: datetime) -> float | None:
        """Good share of the observed part of the last 24 hours, 0 to 1; None when nothing was observed.

        The time until a starting integration first answers, or counts as down, is left out.
        """
        return _share(self._stretches, now - WINDOW, now)

    def bars(self, now: datetime, count: int = 48) -> list[Bar]:
        """The last 24 hours in ``count`` slices, oldest first."""
        width = WINDOW / count
        starts = [now - WINDOW + width * index for index in range(count)]
        return [self._bar(start, start + width) for start in starts]

    def _bar(self, start: datetime, end: datetime) -> Bar:
        inside = [stretch for stretch in self._stretches if stretch.end > start and stretch.start <= end]
        found = {stretch.health for stretch in inside}
        worst = next((health for health in _WORST if health in found), None)
        return Bar(start, worst, _share(inside, start, end))


def _share(stretches: Iterable[Stretch], start: datetime, end: datetime) -> float | None:
    good = total = 0.0
    last: Stretch | None = None
    for stretch in stretches:
        if stretch.health == "starting":
            continue
        span = (min(stretch.end, end) - max(stretch.start, start)).total_seconds()
        if span > 0:
            total += span
            good += span if stretch.ok else 0.0
        if start <= stretch.end <= end:
            last = stretch
    if total > 0:
        return round(good / total, 5)
    return None if last is None else float(last.ok)
