"""Follows hub and sidecar: what they say now, and since when they say nothing. Every request has a deadline."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import aiohttp

from .catalog import Catalog, parse_catalog, parse_models
from .seed_errors import SourceError
from .seeding import Known
from .settings import Settings

REQUEST_S = 10.0
HEARTBEAT_S = 10.0
"""The hub sends something on an open stream at least so often."""

SILENT_AFTER_S = 35.0
MODELS_EVERY_S = 30.0
POLL_S = 10.0
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 15.0
LARGEST = 8 * 1024 * 1024

_REQUEST = aiohttp.ClientTimeout(total=REQUEST_S)
_STREAM = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_S, sock_read=2.5 * HEARTBEAT_S)
_T = TypeVar("_T")
# json answers what is nested too deeply with a RecursionError.
_UNREACHABLE = (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError)


@dataclass
class Sources:
    """What is known, kept up to date by :meth:`follow_hub` and :meth:`follow_sidecar`, which run until cancelled."""

    settings: Settings
    session: aiohttp.ClientSession
    clock: Callable[[], float] = time.monotonic
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    catalog: Catalog | None = None
    models: tuple[str, ...] | None = None
    hub_problem: str = ""
    sidecar_problem: str = ""
    _hub_heard_at: float = 0.0

    def __post_init__(self) -> None:
        self._hub_heard_at = self.clock()
        self.hub_problem = f"Waiting for the hub at {self.settings.hub_url}."
        self.sidecar_problem = f"Waiting for the sidecar at {self.settings.sidecar_base_urls[0]}."

    @property
    def known(self) -> Known:
        silent = bool(self.hub_problem) and self.clock() - self._hub_heard_at > SILENT_AFTER_S
        return Known(self.catalog, self.models, hub_is_silent=silent)

    @property
    def waiting_for(self) -> list[str]:
        return [problem for problem in (self.hub_problem, self.sidecar_problem) if problem]

    async def follow_hub(self) -> None:
        """Reads the catalog at each event of the hub's stream; without a stream every ``POLL_S`` seconds."""
        retry = FIRST_RETRY_S
        while True:
            try:
                await self._read_catalog()
                retry = FIRST_RETRY_S
                pause = await self._follow_events()
            except SourceError as error:
                self._say(hub=f"The hub at {self.settings.hub_url} {error}. Is it running?")
                pause, retry = retry, min(retry * 2, LAST_RETRY_S)
            await asyncio.sleep(pause)

    async def follow_sidecar(self) -> None:
        """Reads the sidecar's list of models every ``MODELS_EVERY_S`` seconds."""
        url = self.settings.sidecar_base_urls[0]
        retry = FIRST_RETRY_S
        while True:
            try:
                models = await self._ask(f"{url}/models", parse_models, self._bearer())
            except SourceError as error:
                self._say(sidecar=f"The sidecar at {url} {error}. Is it running, with the same key?")
                pause, retry = retry, min(retry * 2, LAST_RETRY_S)
            else:
                news, self.models = models != self.models, models
                self._say(sidecar="", news=news)
                pause, retry = MODELS_EVERY_S, FIRST_RETRY_S
            await asyncio.sleep(pause)

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.settings.sidecar_api_key.get_secret_value()}"}

    async def _read_catalog(self) -> None:
        catalog = await self._ask(f"{self.settings.hub_url}/api/v1/integrations", parse_catalog, {})
        news, self.catalog, self._hub_heard_at = catalog != self.catalog, catalog, self.clock()
        self._say(hub="", news=news)

    async def _follow_events(self) -> float:
        """Reads the catalog anew at each event until the stream ends; gives how long to wait before the next try."""
        url = f"{self.settings.hub_url}/api/v1/events"
        try:
            async with self.session.get(url, timeout=_STREAM, allow_redirects=False) as response:
                if response.status != 200:
                    return POLL_S
                async for line in response.content:
                    self._hub_heard_at = self.clock()
                    if line.startswith(b"data:"):
                        await self._read_catalog()
        except _UNREACHABLE:
            pass  # whether the hub itself is away shows when the catalog is read
        return FIRST_RETRY_S

    async def _ask(self, url: str, parse: Callable[[object], _T], headers: dict[str, str]) -> _T:
        """One answer, parsed. Raises ``SourceError`` with a text that goes on from the source's name."""
        try:
            return parse(await self._get(url, headers))
        except TimeoutError:
            raise SourceError("does not answer in time") from None
        except aiohttp.ClientConnectorError:
            raise SourceError("takes no connection") from None
        except _UNREACHABLE as error:
            raise SourceError(f"does not answer as it should ({type(error).__name__})") from None

    async def _get(self, url: str, headers: dict[str, str]) -> object:
        async with self.session.get(url, headers=headers, timeout=_REQUEST, allow_redirects=False) as response:
            if response.status != 200:
                raise SourceError(f"answers with HTTP {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(65536):
                body += chunk
                if len(body) > LARGEST:
                    raise SourceError(f"answers with more than {LARGEST} bytes")
        return json.loads(body)

    def _say(self, *, hub: str | None = None, sidecar: str | None = None, news: bool = False) -> None:
        before = (self.hub_problem, self.sidecar_problem)
        self.hub_problem = self.hub_problem if hub is None else hub
        self.sidecar_problem = self.sidecar_problem if sidecar is None else sidecar
        if news or before != (self.hub_problem, self.sidecar_problem):
            self.changed.set()
