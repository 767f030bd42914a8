"""Calls per minute for each (user, integration): token buckets, bounded in number."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_BUCKETS = 10_000

Monotonic = Callable[[], float]


@dataclass
class _Bucket:
    left: float
    at: float


class Rates:
    """A full bucket holds a minute's calls and fills evenly. The bucket unused for longest goes first."""

    def __init__(self, clock: Monotonic = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()

    def take(self, user: str, integration: str, per_minute: int) -> float:
        """Take one call; 0 when it may go ahead, else the seconds until one may."""
        now, key = self._clock(), (user, integration)
        bucket = self._buckets.pop(key, None) or _Bucket(per_minute, now)
        self._buckets[key] = bucket
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        bucket.left = min(per_minute, bucket.left + (now - bucket.at) * per_minute / 60)
        bucket.at = now
        if bucket.left >= 1:
            bucket.left -= 1
            return 0.0
        return (1 - bucket.left) * 60 / per_minute
