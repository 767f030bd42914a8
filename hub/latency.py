"""How long the good checks of the last hour took."""

from __future__ import annotations

import math
from collections import deque
from datetime import datetime, timedelta

WINDOW = timedelta(hours=1)
MAX_CHECKS = 1200


class Latencies:
    """One integration's; checks come in order of time."""

    def __init__(self) -> None:
        self._checks: deque[tuple[datetime, float]] = deque(maxlen=MAX_CHECKS)
        self._sorted: list[float] | None = None

    def add(self, at: datetime, ms: float) -> None:
        self._checks.append((at, ms))
        self._sorted = None

    def percentiles(self, now: datetime) -> tuple[float, float] | None:
        """The 50th and the 95th in milliseconds (nearest rank); None without a good check in the hour."""
        while self._checks and self._checks[0][0] < now - WINDOW:
            self._checks.popleft()
            self._sorted = None
        if not self._checks:
            return None
        if self._sorted is None:
            self._sorted = sorted(ms for _, ms in self._checks)
        return _rank(self._sorted, 0.5), _rank(self._sorted, 0.95)


def _rank(ordered: list[float], share: float) -> float:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
