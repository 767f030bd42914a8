"""One live runner per user: started once however many ask, and made ready for each turn."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager

import aiohttp

from sidecar.cleanup import bounded
from sidecar.errors import Busy, Overloaded, RunnerError
from sidecar.opencode_config import OpencodeConfig
from sidecar.runners.adoption import Adoption
from sidecar.runners.base import RunnerMode
from sidecar.runners.capacity import Capacity
from sidecar.runners.caretaker import OUTDATED, Caretaker
from sidecar.runners.directories import sweep_links
from sidecar.runners.live import LiveRunner, OnStart, Say
from sidecar.runners.register import Register
from sidecar.runners.specification import specify
from sidecar.settings import Settings

log = logging.getLogger(__name__)
MEND_S = 2.0
ENOUGH_S = 10.0
BeforeStart = Callable[[str], Awaitable[None]]
"""Called with the user before a runner is started; what it raises keeps it from being started."""

ENDED = "Your workspace had ended and is started again …"
WEDGED = "Your workspace stopped answering and is started again …"
STRAYS = "What your last answer had left running was ended: your workspace is started again …"


class RunnerPool:
    """Owns every runner of this sidecar. ``http`` is shared and stays the caller's."""

    def __init__(
        self,
        settings: Settings,
        mode: RunnerMode,
        http: aiohttp.ClientSession,
        on_start: OnStart,
        before_start: BeforeStart,
    ) -> None:
        self._settings = settings
        self._before_start = before_start
        self._mode = mode
        self._http = http
        self._on_start = on_start
        self._register = Register()
        self._capacity = Capacity(settings.max_runners, os.cpu_count() or 1)
        self._starting: dict[str, str] = {}
        self._adoption = Adoption(settings, mode, self._register, http, on_start)
        self._caretaker = Caretaker(settings, mode, self._register, self._adoption.listed)

    async def start(self) -> None:
        """Returns at once: what an earlier sidecar has left is taken over in the background."""
        await self._mode.open()
        self._adoption.start()
        self._caretaker.start()

    async def close(self) -> None:
        """Stops every runner, but those that outlive the sidecar: they are left to the next one."""
        await self._caretaker.close()
        await self._adoption.close()
        if self._mode.lasting:
            await asyncio.gather(*(live.let_go() for live in self.live), return_exceptions=True)
        else:
            ends = (self._register.discard(live.spec.workspace_hash) for live in self.live)
            await asyncio.gather(*ends, return_exceptions=True)
        await self._mode.close()

    @property
    def live(self) -> tuple[LiveRunner, ...]:
        """The runners as they are now."""
        return self._register.live

    @property
    def starting(self) -> Mapping[str, str]:
        """User to the name of the runner that is being started, or waits for its turn to be."""
        return dict(self._starting)

    @property
    def starting_now(self) -> frozenset[str]:
        """Those of ``starting`` who wait no longer."""
        return self._capacity.starting

    def holds_token(self, token: str) -> bool:
        """Whether ``token`` is that of a live runner; compares in constant time."""
        given = token.encode()
        return sum(hmac.compare_digest(live.spec.token.get_secret_value().encode(), given) for live in self.live) > 0

    async def admit(self, user: str) -> None:
        """Keeps a place for a turn of the user (workspace hash), until ``holding`` or for a few seconds.

        Raises ``Overloaded`` where turns and starts of others have all places.
        """
        self._capacity.admit(user)

    def holding(self, user: str) -> AbstractContextManager[None]:
        """The place of a turn, from its beginning to its end."""
        return self._capacity.holding(user)

    @asynccontextmanager
    async def lease(
        self, user: str, key_sig: str, config: OpencodeConfig, say: Say, *, alone: bool = False
    ) -> AsyncIterator[LiveRunner]:
        """The user's runner for one turn, started or reloaded first where that is needed.

        ``user`` is the workspace hash; ``say`` receives what the user should know meanwhile. ``alone``: no other turn
        runs in it meanwhile, and what this one leaves running is ended with it.
        Raises ``RunnerError``, ``Busy``, ``Forbidden`` and ``Overloaded``.
        """
        await self._adoption.listed()
        with self.holding(user):
            if delay := self._register.delay(user):
                say(delay)
            asked_at = time.monotonic()
            async with self._register.lock(user):
                self._register.check_failure(user, asked_at)
                await self._wait_until_alone(user, say, alone=alone)
                live = await self._ready(user, key_sig, config, say)
                live.enter(say, alone=alone)
            try:
                yield live
            finally:
                try:
                    if alone:
                        await bounded(self._end_strays(live))
                finally:
                    live.leave(say)

    async def reset(self, user: str) -> bool:
        """Ends the user's runner, so that the next turn starts a fresh one; False where there is none.

        Raises ``Busy`` while a turn runs in it or is being prepared, and ``RunnerError``.
        """
        await self._adoption.listed()
        still = Busy("An answer is still running in your workspace. Stop it or wait for it, then send again.")
        lock = self._register.lock(user)
        try:
            async with asyncio.timeout(ENOUGH_S):
                await lock.acquire()
        except TimeoutError:
            raise still from None
        try:
            live = self._register.of(user)
            if live is not None and live.turns:
                raise still
            await self._register.discard(user)
            return live is not None
        finally:
            lock.release()

    async def stop(self, name: str, *, force: bool = False) -> bool:
        """Ends the runner of that name for an operator; False where there is none, of ours or left by others.

        Raises ``Busy`` while a turn runs in it, unless by ``force``: the turn is told.
        """
        await self._adoption.listed()
        live = self._register.named(name)
        if live is not None:
            await self._end(live, force=force)
            return True
        if name in self._starting.values() and not force:
            raise Busy(f"{name} is being started for a turn. Wait for it, or end it with force.")
        if name in {found.name for found in await self._mode.found()}:
            await self._mode.remove(name)
            return True
        return False

    async def restart(self, name: str, *, force: bool = False) -> bool:
        """As ``stop``, for a live runner, which is then started again with what it had loaded.

        Raises ``Overloaded`` where turns of others have all places: its user would be given a place that is not there.
        """
        await self._adoption.listed()
        live = self._register.named(name)
        if live is None:
            return False
        user = live.spec.workspace_hash
        self._capacity.admit(user)
        with self.holding(user):
            await self._end(live, force=force)
            async with self._register.lock(user):
                if self._register.of(user) is None:
                    await self._start(user, live.spec.key_sig, live.loaded, _unheard)
        return True

    async def logs(self, name: str, lines: int) -> str:
        """The last lines that the runner has written. Raises ``RunnerError`` where there is none of that name."""
        return await self._mode.logs(name, lines)

    async def _end(self, live: LiveRunner, *, force: bool) -> None:
        user = live.spec.workspace_hash
        await self._end_turns(live, force=force)  # not with the lock: another turn may hold it until this one's end
        async with self._register.lock(user):
            if self._register.of(user) is live:
                await self._end_turns(live, force=force)  # one may have begun meanwhile
                await self._register.discard(user)

    async def _end_turns(self, live: LiveRunner, *, force: bool) -> None:
        if live.turns and not force:
            raise Busy(f"A turn runs in {live.spec.name}. Wait for its end, or end it with force.")
        if live.turns and not live.gone.is_set():
            await live.end_for("Your workspace was stopped by the operator. Send the message again.", "runner_lost")

    async def _wait_until_alone(self, user: str, say: Say, *, alone: bool) -> None:
        """Waits where this turn, or the one that runs, wants no other beside it."""
        live = self._register.of(user)
        if live is None or not live.turns or not (alone or live.alone):
            return
        line = "Another of your answers works in your workspace alone: yours comes next …"
        say("Waiting for your other answers: this one works in your workspace alone …" if alone else line)
        with self._register.delayed(user, line):
            await live.quiet.wait()

    async def _ready(self, user: str, key_sig: str, config: OpencodeConfig, say: Say) -> LiveRunner:
        live = self._register.of(user)
        if live is not None and live.spec.key_sig != key_sig:
            await self._wait_for_turns(live, say)
            await self._register.discard(user)
            live = None
        if live is not None and (why := await self._unfit(live)):
            await self._register.discard(user, why)
            live = None
        if live is None:
            live = await self._start(user, key_sig, config, say)
        await live.load(config)
        if not self._mode.lasting:  # in a container a link leads nowhere, and /workspace/… is no place out here
            await _sweep(live, say)
        return live

    async def _unfit(self, live: LiveRunner) -> str:
        """Why it can't run the next turn; empty where it can. Resumes a paused one, and mends its network."""
        if live.outdated and not live.turns:
            return OUTDATED
        if live.gone.is_set():
            return ENDED
        try:
            if live.paused:
                await live.resume()
            if self._mode.lasting:
                async with asyncio.timeout(MEND_S):
                    await live.lasting.mend()
        except (RunnerError, TimeoutError) as error:
            # A runner that answers is of use, whatever the engine does.
            log.warning("runner %s: %s", live.spec.name, getattr(error, "detail", "") or type(error).__name__)
        if await live.answers():
            return ""
        return WEDGED if await live.runner.poll() is None else ENDED

    async def _wait_for_turns(self, live: LiveRunner, say: Say) -> None:
        if not live.turns:
            return
        line = "Your keys have changed: waiting for your running answers to finish …"
        say(line)
        try:
            with self._register.delayed(live.spec.workspace_hash, line):
                async with asyncio.timeout(self._settings.key_change_wait_s):
                    await live.quiet.wait()
        except TimeoutError:
            raise Busy(
                "Your keys have changed, but an answer with the old keys is still running. "
                "Stop it or wait for it, then send again."
            ) from None

    async def _start(self, user: str, key_sig: str, config: OpencodeConfig, say: Say) -> LiveRunner:
        await self._before_start(user)
        runner = self._mode.make(specify(self._settings, user, key_sig, config.text))
        self._starting[user] = runner.spec.name
        try:
            await self._make_room()
            say(self._register.take_reason(user) or "Starting your workspace …")
            async with self._capacity.start_slot(user, say):
                live = await LiveRunner.launch(runner, config, self._http)
            self._register.add(live)
        except RunnerError as error:
            self._register.note_failure(user, error)
            raise
        finally:
            del self._starting[user]
        await self._on_start(user, live.client)
        say("Your workspace is ready", done=True)
        return live

    async def _make_room(self) -> None:
        """Stops idle runners, the longest idle first, until the one being started has its place."""
        while len(self.live) + self._to_come > self._settings.max_runners:
            victim = self._idlest()
            if victim is not None:
                user = victim.spec.workspace_hash
                async with self._register.lock(user):
                    if user not in self._capacity.busy and self._register.of(user) is victim:
                        await self._register.discard(user)
            elif self._adoption.unsettled:
                await self._adoption.next_settled()
            else:
                raise Overloaded("All workspaces are in use. Try again in a few seconds.")
        if len(self._register) + self._to_come > self._settings.max_runners:
            await self._register.all_left()

    @property
    def _to_come(self) -> int:
        """Runners that have or will have a container and are not live yet."""
        return len(self._starting) + self._adoption.unsettled

    def _idlest(self) -> LiveRunner | None:
        """The runner whose user needs it least: at best one that nobody is at just now."""
        idle = [live for live in self.live if live.spec.workspace_hash not in self._capacity.busy]
        return min(
            idle,
            key=lambda live: (self._register.lock(live.spec.workspace_hash).locked(), live.used_at),
            default=None,
        )

    async def _end_strays(self, live: LiveRunner) -> None:
        """Ends the runner where a process that is not opencode's own goes on in it, or nobody can tell."""
        if not self._mode.lasting or live.gone.is_set():
            return
        try:
            async with asyncio.timeout(ENOUGH_S / 2):
                strays = await live.lasting.has_strays()
        except (RunnerError, TimeoutError) as error:
            log.warning("runner %s: %s", live.spec.name, getattr(error, "detail", "") or type(error).__name__)
            strays = True
        if strays:
            self._register.note_reason(live.spec.workspace_hash, STRAYS)
            await live.end()


def _unheard(line: str, *, done: bool = False) -> None:
    """Nobody waits for what the runner has to say."""


async def _sweep(live: LiveRunner, say: Say) -> None:
    try:
        removed = await asyncio.to_thread(sweep_links, live.spec.workspace)
    except OSError as error:
        raise RunnerError(f"Your workspace cannot be checked: {error}. Remove files from it.") from None
    if removed:
        shown = ", ".join(removed[:5]) + (" …" if len(removed) > 5 else "")
        say(f"Removed links that led out of your workspace: {shown}", done=True)
