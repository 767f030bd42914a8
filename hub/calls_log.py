"""The last calls and refusals, in memory alone, for whoever watches the status page."""

from __future__ import annotations

import asyncio
from collections import deque

from hub.wire import CallEntry, CallsView

MAX_CALLS = 200


class CallsLog:
    """``count`` is how many there have been since the hub's start."""

    def __init__(self, size: int = MAX_CALLS) -> None:
        self._last: deque[CallEntry] = deque(maxlen=size)
        self._grown = asyncio.Event()
        self.count = 0

    def add(self, entry: CallEntry) -> None:
        self._last.append(entry)
        self.count += 1
        self._grown.set()
        self._grown = asyncio.Event()

    def view(self) -> CallsView:
        """Newest first."""
        return CallsView(calls=tuple(reversed(self._last)))

    async def beyond(self, count: int) -> int:
        """Wait until there have been more than ``count``, and return how many."""
        while self.count <= count:
            await self._grown.wait()
        return self.count
