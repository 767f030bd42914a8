"""One live runner per user: started once however many ask, replaced when the keys change, stopped when idle."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import aiohttp

from sidecar.errors import Busy, Forbidden, Overloaded, RunnerError
from sidecar.identity import runner_name, runner_password, runner_token
from sidecar.locks import KeyedLocks
from sidecar.opencode_client import OpencodeClient
from sidecar.opencode_config import OpencodeConfig
from sidecar.runners.base import RunnerFactory, RunnerSpec
from sidecar.runners.directories import sweep_links
from sidecar.runners.live import LiveRunner, Say
from sidecar.settings import Settings

log = logging.getLogger(__name__)
CULL_S = 30.0
WORKSPACE = re.compile(r"[0-9a-f]{16}")

OnStart = Callable[[str, OpencodeClient], Awaitable[None]]
"""Called with the user and the client of a runner that has just been started, before any turn of it."""


class RunnerPool:
    """Owns every runner of this sidecar. ``http`` is shared and stays the caller's."""

    def __init__(
        self, settings: Settings, factory: RunnerFactory, http: aiohttp.ClientSession, on_start: OnStart
    ) -> None:
        self._settings = settings
        self._factory = factory
        self._http = http
        self._on_start = on_start
        self._live: dict[str, LiveRunner] = {}
        self._starting: set[str] = set()
        self._locks = KeyedLocks()
        self._starts = asyncio.Semaphore(os.cpu_count() or 1)
        self._turn_ended = asyncio.Condition()
        self._culler: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._culler = asyncio.create_task(self._cull_forever())

    async def close(self) -> None:
        """Stops every runner."""
        if self._culler is not None:
            self._culler.cancel()
            await asyncio.gather(self._culler, return_exceptions=True)
        await asyncio.gather(*(self._discard(user) for user in list(self._live)), return_exceptions=True)

    @property
    def live(self) -> tuple[LiveRunner, ...]:
        """The runners as they are now."""
        return tuple(self._live.values())

    def holds_token(self, token: str) -> bool:
        """Whether ``token`` is that of a live runner; compares in constant time."""
        given = token.encode()
        return sum(hmac.compare_digest(live.spec.token.get_secret_value().encode(), given) for live in self.live) > 0

    @asynccontextmanager
    async def lease(self, user: str, key_sig: str, config: OpencodeConfig, say: Say) -> AsyncIterator[LiveRunner]:
        """The user's runner for one turn, started or reloaded first where that is needed.

        ``user`` is the workspace hash; ``say`` receives what the user should know meanwhile.
        Raises ``RunnerError``, ``Busy``, ``Forbidden`` and ``Overloaded``.
        """
        async with self._locks.of(user):
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
        if live is not None and not await live.answers():
            say("Your workspace stopped answering and is started again …")
            await self._discard(user)
            live = None
        if live is None:
            live = await self._start(user, key_sig, config, say)
        await live.load(config)
        await _sweep(live, say)
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

    async def _start(self, user: str, key_sig: str, config: OpencodeConfig, say: Say) -> LiveRunner:
        self._refuse_second_user(user)
        with self._reserved(user):
            await self._make_room()
            say("Starting your workspace …")
            async with self._starts:
                live = await LiveRunner.launch(self._factory(self._spec(user, key_sig, config)), config, self._http)
            self._live[user] = live
        await self._on_start(user, live.client)
        say("Your workspace is ready", done=True)
        return live

    @contextmanager
    def _reserved(self, user: str) -> Iterator[None]:
        """A place among the runners, held while the runner is being started."""
        self._starting.add(user)
        try:
            yield
        finally:
            self._starting.discard(user)

    async def _make_room(self) -> None:
        """Stops idle runners, the longest idle first, until the one being started has its place."""
        idle = sorted((live.used_at, user) for user, live in self._live.items() if live.turns == 0)
        while len(self._live) + len(self._starting) > self._settings.max_runners:
            if not idle:
                raise Overloaded("All workspaces are in use. Try again in a few seconds.")
            _, user = idle.pop(0)
            lock = self._locks.of(user)
            if not lock.locked():
                async with lock:
                    if user in self._live and self._live[user].turns == 0:
                        await self._discard(user)

    def _refuse_second_user(self, user: str) -> None:
        if self._settings.runner_mode != "process" or self._settings.process_shared:
            return
        folders = {path.name for path in (self._settings.home / "workspaces").glob("*") if path.is_dir()}
        if {name for name in folders | set(self._live) | self._starting if WORKSPACE.fullmatch(name)} - {user}:
            raise Forbidden(
                "This Open Persona runs in 'process' mode, for one person, and already serves another user id. "
                "If both are you, talk under one id: set OPEN_PERSONA_USER (or --user) of the command to your "
                "Open WebUI user id. If all its users trust each other, its operator can set "
                "OPEN_PERSONA_PROCESS_SHARED=1; otherwise use runner mode 'docker'."
            )

    def _spec(self, user: str, key_sig: str, config: OpencodeConfig) -> RunnerSpec:
        name, home = runner_name(user, key_sig), self._settings.home
        return RunnerSpec(
            name=name,
            workspace_hash=user,
            key_sig=key_sig,
            workspace=home / "workspaces" / user,
            private=home / "runners" / user / key_sig,
            config_text=config.text,
            token=runner_token(self._settings.token_key, name),
            password=runner_password(self._settings.token_key, name),
        )

    async def _discard(self, user: str) -> None:
        live = self._live.pop(user, None)
        if live is not None:
            await live.end()

    async def _cull_forever(self) -> None:
        while True:
            await asyncio.sleep(min(CULL_S, self._settings.runner_idle_s / 4))
            for user, live in list(self._live.items()):
                try:
                    await self._cull(user, live)
                except (RunnerError, OSError) as error:
                    log.warning("stopping the idle runner %s: %s", live.spec.name, error)

    async def _cull(self, user: str, live: LiveRunner) -> None:
        """Stops a runner that is idle or ended by itself; never one in a turn."""
        async with self._locks.of(user):
            idle = live.gone.is_set() or time.monotonic() - live.used_at > self._settings.runner_idle_s
            if idle and live.turns == 0 and self._live.get(user) is live:
                await self._discard(user)


async def _sweep(live: LiveRunner, say: Say) -> None:
    try:
        removed = await asyncio.to_thread(sweep_links, live.spec.workspace)
    except OSError as error:
        raise RunnerError(f"Your workspace cannot be checked: {error}. Remove files from it.") from None
    if removed:
        shown = ", ".join(removed[:5]) + (" …" if len(removed) > 5 else "")
        say(f"Removed links that led out of your workspace: {shown}", done=True)
