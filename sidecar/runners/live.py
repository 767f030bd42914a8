"""A runner that answers: its client, its events, the config that it has loaded, and the turns that it runs."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

from sidecar.cleanup import complete
from sidecar.errors import RunnerError
from sidecar.event_stream import EventStream
from sidecar.opencode_client import OpencodeClient
from sidecar.opencode_config import OpencodeConfig
from sidecar.runners.base import Runner, RunnerSpec
from sidecar.runners.directories import write_config

log = logging.getLogger(__name__)
WATCH_S = 0.25
WEDGED_S = 5.0


class Say(Protocol):
    """Takes a line that the user should see; ``done`` when the step that it speaks of is over."""

    def __call__(self, line: str, *, done: bool = False) -> None: ...


@dataclass
class LiveRunner:
    """``connected`` maps an MCP server to what it showed when it was connected; ``gone`` is set at its end.

    ``turns`` counts those that run now; ``used_at`` is the monotonic time of the last one's end.
    """

    runner: Runner
    client: OpencodeClient
    events: EventStream
    loaded: OpencodeConfig
    turns: int = 0
    used_at: float = field(default_factory=time.monotonic)
    connected: dict[str, str] = field(default_factory=dict)
    servers_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    _watcher: asyncio.Task[None] | None = None

    @property
    def spec(self) -> RunnerSpec:
        return self.runner.spec

    @classmethod
    async def launch(cls, runner: Runner, config: OpencodeConfig, http: aiohttp.ClientSession) -> LiveRunner:
        """Starts ``runner`` and follows its events. Raises ``RunnerError``; nothing is left running then."""
        begun = time.monotonic()
        client = OpencodeClient(await runner.start(), runner.spec.password, http)
        live = cls(runner, client, EventStream(client), config)
        try:
            await live.events.open()
        except BaseException:
            await complete(live.end())
            raise
        live._watcher = asyncio.create_task(live._watch())
        log.info("runner %s is ready after %.1f s", runner.spec.name, time.monotonic() - begun)
        return live

    async def end(self) -> None:
        """Stops it; no error when it is gone already."""
        self.gone.set()
        if self._watcher is not None:
            self._watcher.cancel()
        try:
            await self.events.close()
        finally:
            await self.runner.stop()
        log.info("runner %s is stopped", self.spec.name)

    async def answers(self) -> bool:
        """Whether it runs and its HTTP is not wedged."""
        if self.gone.is_set() or await self.runner.poll() is not None:
            return False
        try:
            await self.client.version(timeout_s=WEDGED_S)
        except RunnerError as error:
            log.warning("runner %s: %s", self.spec.name, error.detail)
            return False
        return True

    async def load(self, config: OpencodeConfig) -> None:
        """Makes ``config`` the one that is loaded, unless a turn runs: a dispose would cut it.

        A load that failed or was cancelled half way is done again by the next one.
        """
        if self.spec.config_text != config.text and not self.turns:
            await complete(self._load(config))

    async def _load(self, config: OpencodeConfig) -> None:
        spec = RunnerSpec(**{**vars(self.spec), "config_text": config.text})
        await asyncio.to_thread(write_config, spec)
        if self.loaded.reload_key != config.reload_key:
            self.connected.clear()
            await self.client.dispose()
            self.loaded = config
            log.info("runner %s has loaded a changed config", spec.name)
        self.runner.spec = spec

    async def _watch(self) -> None:
        """Sets ``gone`` soon after the runner ended by itself, so that a turn need not wait for its deadline."""
        while await self.runner.poll() is None:  # noqa: ASYNC110 - not every mode has an end to await
            await asyncio.sleep(WATCH_S)
        log.warning("runner %s ended by itself", self.spec.name)
        self.gone.set()
        await self.events.close()
