"""Sessions with backends of the handshake era, each of one runner alone.

A session can hold state (a login, a browser), so two users never share one. It is opened at the first call, used again
for as long as calls come, opened anew when the backend has forgotten it, and deleted when idle or at the hub's end.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from hub.errors import HubError
from hub.mcp_http import Budget
from hub.mcp_session import McpSession
from hub.rates import Monotonic

logger = logging.getLogger(__name__)

IDLE_S = 60.0
MAX_SESSIONS = 500
GOODBYE_S = 1.0
HANDSHAKE_BYTES = 256 * 1024


@dataclass(frozen=True)
class SessionKey:
    """One session: a backend's URL, a runner's digest and a digest of the settings that go with its requests."""

    url: str
    runner: str
    settings: str


@dataclass(eq=False)
class _Slot:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    session: McpSession | None = None
    users: int = 0
    used_at: float = 0.0


def key_of(url: str, runner: str, headers: Mapping[str, str]) -> SessionKey:
    settings = hashlib.sha256(repr(sorted(headers.items())).encode()).hexdigest()
    return SessionKey(url, runner, settings)


class Sessions:
    """The pool, over one shared HTTP client."""

    def __init__(self, client: aiohttp.ClientSession, clock: Monotonic = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._slots: dict[SessionKey, _Slot] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._slots)

    @asynccontextmanager
    async def use(
        self, key: SessionKey, headers: Mapping[str, str], stale: McpSession | None
    ) -> AsyncIterator[McpSession]:
        """An open session, not ``stale``; several calls may use one at a time.

        Raises:
            ProbeError, aiohttp.ClientError, OSError: it could not be opened.
        """
        slot = self._slots.setdefault(key, _Slot())
        slot.users += 1
        try:
            async with slot.lock:
                if slot.session is None or slot.session is stale:
                    slot.session = None
                    slot.session = await self._opened(key.url, headers)
                opened = slot.session
            yield opened
        finally:
            slot.users -= 1
            slot.used_at = self._clock()

    async def sweep(self) -> None:
        """Delete the sessions that nobody used for a while, and the oldest of too many."""
        now = self._clock()
        idle = sorted((one for one in self._slots.items() if not one[1].users), key=lambda one: one[1].used_at)
        excess = len(self._slots) - MAX_SESSIONS
        gone = [
            (key, slot) for number, (key, slot) in enumerate(idle) if number < excess or now - slot.used_at > IDLE_S
        ]
        for key, _ in gone:
            del self._slots[key]
        await asyncio.gather(*(_goodbye(slot.session) for _, slot in gone if slot.session))

    async def close(self) -> None:
        """Delete all of them."""
        slots, self._slots = list(self._slots.values()), {}
        await asyncio.gather(*(_goodbye(slot.session) for slot in slots if slot.session), *self._leaving)

    async def _opened(self, url: str, headers: Mapping[str, str]) -> McpSession:
        session = McpSession(self._client, url, Budget(HANDSHAKE_BYTES), headers)
        try:
            await session.initialize()
        except BaseException:
            # The backend may have opened it all the same.
            task = asyncio.create_task(_goodbye(session))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
            raise
        return session


async def _goodbye(session: McpSession) -> None:
    try:
        async with asyncio.timeout(GOODBYE_S):
            await session.close()
    except (OSError, aiohttp.ClientError, TimeoutError, HubError, ValueError) as error:
        logger.debug("a session was not deleted: %s", type(error).__name__)
