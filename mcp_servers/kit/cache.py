"""Answers of an upstream, kept in memory per credential, bounded by count and by size."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue


@dataclass(frozen=True)
class CacheKey:
    """``owner`` is the digest of the credential: an answer is only ever found by the one who asked for it."""

    owner: str
    request: str


@dataclass(frozen=True)
class CacheEntry:
    """``stored_at`` is monotonic seconds, ``size`` the bytes of the answer as it came."""

    value: JsonValue
    stored_at: float
    retrieved_at: datetime
    size: int


class ResponseCache:
    """The least recently used entry goes first when either bound is reached."""

    def __init__(self, *, max_entries: int = 512, max_bytes: int = 32 * 1024 * 1024) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[CacheKey, CacheEntry] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: CacheKey) -> CacheEntry | None:
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: CacheKey, entry: CacheEntry) -> None:
        """Keep ``entry``, unless it alone is over a quarter of the room."""
        self._drop(key)
        if entry.size > self._max_bytes // 4:
            return
        self._entries[key] = entry
        self._bytes += entry.size
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def forget(self, owner: str) -> None:
        """Drop all that was read with a credential that is no longer good."""
        for key in [key for key in self._entries if key.owner == owner]:
            self._drop(key)

    def _drop(self, key: CacheKey) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self._bytes -= entry.size
