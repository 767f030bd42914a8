"""One live runner per user: started once however many ask, watched, reloaded between turns, stopped when idle."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from pydantic import SecretStr

from sidecar.errors import Busy, Forbidden, Overloaded, RunnerError
from sidecar.events import EventStream
from sidecar.identity import runner_name, runner_password, runner_token
from sidecar.opencode_client import OpencodeClient
from sidecar.opencode_config import OpencodeConfig
from sidecar.runners.base import Runner, RunnerFactory, RunnerSpec
from sidecar.runners.directories import sweep_links, write_config
from sidecar.settings import Settings

log = logging.getLogger(__name__)
WATCH_S = 0.25
WEDGED_S = 5.0
Say = Callable[[str], None]


@dataclass
class LiveRunner:
    """A runner that answers. ``connected`` maps an MCP server to the tool fingerprint that it was connected with."""

    runner: Runner
    client: OpencodeClient
    events: EventStream
    loaded: OpencodeConfig
    turns: int = 0
    used_at: float = field(default_factory=time.monotonic)
    connected: dict[str, str] = field(default_factory=dict)
    servers_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    watcher: asyncio.Task[None] | None = None

    @property
    def spec(self) -> RunnerSpec:
        return self.runner.spec


class RunnerPool:
    """Owns every runner of this sidecar. ``http`` is shared and stays the caller's."""

    def __init__(self, settings: Settings, factory: RunnerFactory, http: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._factory = factory
        self._http = http
        self._live: dict[str, LiveRunner] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._starts = asyncio.Semaphore(os.cpu_count() or 1)
        self._starting = 0
        self._turn_ended = asyncio.Condition()
        self._culler: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._culler = asyncio.create_task(self._cull_forever())

    async def close(self) -> None:
        """Stops every runner."""
        if self._culler is not None:
            self._culler.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._culler
        await asyncio.gather(*(self._discard(user) for user in list(self._live)))

    def holds_token(self, token: str) -> bool:
        """Whether ``token`` is that of a live runner; compares in constant time."""
        given = token.encode()
        return sum(hmac.compare_digest(live.spec.token.get_secret_value().encode(), given) for live in self.live) > 0

    @property
    def live(self) -> tuple[LiveRunner, ...]:
        """The runners as they are now."""
        return tuple(self._live.values())

    @asynccontextmanager
    async def lease(self, user: str, key_sig: str, config: OpencodeConfig, say: Say) -> AsyncIterator[LiveRunner]:
        """The user's runner for one turn, started or reloaded first where that is needed.

        ``user`` is the workspace hash; ``say`` receives what the user should know meanwhile.
        Raises ``RunnerError``, ``Busy``, ``Forbidden`` and ``Overloaded``.
        """
        async with self._locks[user]:
            live = await self._ready(user, key_sig, config, say)
            live.turns += 1
        try:
            yield live
        finally:
            live.turns -= 1
            live.used_at = time.monotonic()
            async with self._turn_ended:
                self._turn_ended.notify_all()

    async def _ready(self, user: str, key_sig: str, config: OpencodeConfig, say: Say) -> LiveRunner:
        live = self._live.get(user)
        if live is not None and live.spec.key_sig != key_sig:
            await self._wait_for_turns(live, say)
            await self._discard(user)
            live = None
        if live is not None and not await self._answers(live):
            say("Your workspace stopped answering and is started again …")
            await self._discard(user)
            live = None
        if live is None:
            live = await self._start(user, key_sig, config, say)
        await self._load(live, config)
        await self._sweep(live, say)
        return live

    async def _wait_for_turns(self, live: LiveRunner, say: Say) -> None:
        if live.turns:
            say("Your keys have changed: waiting for your running answers to finish …")
        try:
            async with asyncio.timeout(self._settings.key_change_wait_s), self._turn_ended:
                await self._turn_ended.wait_for(lambda: live.turns == 0)
        except TimeoutError:
            raise Busy(
                "Your keys have changed, but an answer with the old keys is still running. "
                "Stop it or wait for it, then send again."
            ) from None

    async def _answers(self, live: LiveRunner) -> bool:
        if live.gone.is_set() or await live.runner.poll() is not None:
            return False
        try:
            await live.client.version(timeout_s=WEDGED_S)
        except RunnerError as error:
            log.warning("runner %s: %s", live.spec.name, error.detail)
            return False
        return True

    async def _start(self, user: str, key_sig: str, config: OpencodeConfig, say: Say) -> LiveRunner:
        self._refuse_second_user(user)
        await self._make_room()
        spec = self._spec(user, key_sig, config)
        say("Starting your workspace …")
        self._starting += 1
        try:
            async with self._starts:
                live = await self._launch(self._factory(spec), config)
        finally:
            self._starting -= 1
        self._live[user] = live
        return live

    async def _launch(self, runner: Runner, config: OpencodeConfig) -> LiveRunner:
        begun = time.monotonic()
        url = await runner.start()
        client = OpencodeClient(url, runner.spec.password, self._http)
        events = EventStream(client)
        try:
            await events.open()
        except BaseException:
            await asyncio.shield(runner.stop())
            raise
        live = LiveRunner(runner, client, events, config)
        live.watcher = asyncio.create_task(_watch(live))
        log.info("runner %s is ready after %.1f s", runner.spec.name, time.monotonic() - begun)
        return live

    async def _load(self, live: LiveRunner, config: OpencodeConfig) -> None:
        """Loads a changed config by a dispose, which cuts running turns: so only while there are none."""
        if live.spec.config_text == config.text or live.turns:
            return
        live.runner.spec = _with_config(live.spec, config)
        await asyncio.to_thread(write_config, live.spec)
        if live.loaded.reload_key != config.reload_key:
            await live.client.dispose()
            live.connected.clear()
            live.loaded = config
            log.info("runner %s has loaded a changed config", live.spec.name)

    async def _sweep(self, live: LiveRunner, say: Say) -> None:
        try:
            removed = await asyncio.to_thread(sweep_links, live.spec.workspace)
        except OSError as error:
            raise RunnerError(f"Your workspace cannot be checked: {error}. Remove files from it.") from None
        if removed:
            shown = ", ".join(removed[:5]) + (" …" if len(removed) > 5 else "")
            say(f"Removed links that led out of your workspace: {shown}")

    def _refuse_second_user(self, user: str) -> None:
        if self._settings.runner_mode != "process" or self._settings.process_shared:
            return
        workspaces = self._settings.home / "workspaces"
        others = [path for path in workspaces.glob("*") if path.is_dir() and path.name != user]
        if others:
            raise Forbidden(
                "This Open Persona runs in 'process' mode, for one person, and already serves another user. "
                "Ask its operator to use runner mode 'docker', "
                "or to set OPEN_PERSONA_PROCESS_SHARED=1 if all its users trust each other."
            )

    async def _make_room(self) -> None:
        if len(self._live) + self._starting < self._settings.max_runners:
            return
        idle = sorted((live.used_at, user) for user, live in self._live.items() if live.turns == 0)
        for _, user in idle:
            if not self._locks[user].locked():
                await self._discard(user)
                return
        raise Overloaded("All workspaces are in use. Try again in a few seconds.")

    def _spec(self, user: str, key_sig: str, config: OpencodeConfig) -> RunnerSpec:
        name = runner_name(user, key_sig)
        token_key: SecretStr = self._settings.token_key
        home: Path = self._settings.home
        return RunnerSpec(
            name=name,
            workspace_hash=user,
            key_sig=key_sig,
            workspace=home / "workspaces" / user,
            private=home / "runners" / user / key_sig,
            config_text=config.text,
            token=runner_token(token_key, name),
            password=runner_password(token_key, name),
        )

    async def _discard(self, user: str) -> None:
        live = self._live.pop(user, None)
        if live is None:
            return
        if live.watcher is not None:
            live.watcher.cancel()
        live.gone.set()
        await live.events.close()
        await live.runner.stop()
        log.info("runner %s is stopped", live.spec.name)

    async def _cull_forever(self) -> None:
        idle_s = self._settings.runner_idle_s
        while True:
            await asyncio.sleep(min(30.0, idle_s / 4))
            for user, live in list(self._live.items()):
                if live.turns == 0 and time.monotonic() - live.used_at > idle_s:
                    await self._cull(user, live)

    async def _cull(self, user: str, live: LiveRunner) -> None:
        async with self._locks[user]:
            if self._live.get(user) is live and live.turns == 0:
                await self._discard(user)


async def _watch(live: LiveRunner) -> None:
    """Sets ``gone`` soon after the runner ended by itself, so that a turn need not wait for its deadline."""
    while await live.runner.poll() is None:  # noqa: ASYNC110 - not every mode has an end to await
        await asyncio.sleep(WATCH_S)
    log.warning("runner %s ended by itself", live.spec.name)
    live.gone.set()


def _with_config(spec: RunnerSpec, config: OpencodeConfig) -> RunnerSpec:
    return RunnerSpec(**{**vars(spec), "config_text": config.text})
