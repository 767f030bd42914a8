"""The hub as the sidecar sees it: the catalog, kept fresh, with the last good one while the hub is away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

import aiohttp
from pydantic import ValidationError

from hub.wire import CatalogView

log = logging.getLogger(__name__)
FRESH_S = 1.0
TIMEOUT_S = 2.0
POLL_S = 5.0


class HubClient:
    """``catalog()`` never waits long: a snapshot younger than ``FRESH_S`` is answered as it is.

    With a hub that is slow or away, the last good snapshot is answered, and ``reachable`` is False.
    """

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url.rstrip("/")
        self._http = http
        self._catalog: CatalogView | None = None
        self._asked_at = float("-inf")
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.reachable = False

    def start(self) -> None:
        """Begins to poll, so that a turn finds a fresh snapshot. A turn right after a change asks again by itself."""
        self._task = asyncio.create_task(self._poll())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def catalog(self) -> CatalogView | None:
        """The catalog as it is now, the last good one when the hub is away, None when it was never there."""
        async with self._lock:
            if time.monotonic() - self._asked_at > FRESH_S:
                await self._refresh()
        return self._catalog

    async def _poll(self) -> None:
        while True:
            await self.catalog()
            await asyncio.sleep(POLL_S)

    async def _refresh(self) -> None:
        headers = {"If-None-Match": f'"{self._catalog.revision}"'} if self._catalog and self.reachable else {}
        was = self.reachable
        try:
            async with self._http.get(
                f"{self._url}/api/v1/integrations", headers=headers, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)
            ) as response:
                if response.status == 200:
                    self._catalog = CatalogView.model_validate_json(await response.read())
                self.reachable = response.status in (200, 304)
        except (aiohttp.ClientError, OSError, TimeoutError, ValidationError) as error:
            self.reachable = False
            if was:
                log.warning(
                    "the hub at %s does not answer (%s); the last catalog stays", self._url, type(error).__name__
                )
        self._asked_at = time.monotonic()
        if self.reachable and not was:
            log.info("the hub at %s answers", self._url)
