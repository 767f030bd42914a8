"""Takes over the runners that an earlier sidecar has left: in the background, each user's turns wait for it alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import cast

import aiohttp

from sidecar.errors import RunnerError, SidecarError
from sidecar.runners.base import FoundRunner, LastingRunner, RunnerMode
from sidecar.runners.live import LiveRunner, OnStart
from sidecar.runners.register import Register
from sidecar.runners.specification import specify
from sidecar.settings import Settings

log = logging.getLogger(__name__)
LISTED_S = 10.0
"""How long a turn waits to learn whether its user has a runner already."""

FIND_S = 30.0
ADOPT_S = 30.0
REMOVE_S = 20.0
RETRY_S = 1.0


class Adoption:
    """Each user's lock is held until what was found of theirs is taken over or removed."""

    def __init__(
        self, settings: Settings, mode: RunnerMode, register: Register, http: aiohttp.ClientSession, on_start: OnStart
    ) -> None:
        self._settings = settings
        self._mode = mode
        self._register = register
        self._http = http
        self._on_start = on_start
        self._listed = asyncio.Event()
        self._fault: SidecarError | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsettled: dict[str, int] = {}
        self._settled = asyncio.Condition()

    def start(self) -> None:
        if self._mode.lasting:
            self._tasks.add(asyncio.create_task(self._run()))
        else:
            self._listed.set()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def listed(self) -> None:
        """Returns once it is known who has a runner; raises ``RunnerError`` when that takes over ``LISTED_S``."""
        try:
            async with asyncio.timeout(LISTED_S):
                await self._listed.wait()
        except TimeoutError:
            raise self._fault or RunnerError(
                "The runners cannot be listed: the container engine does not answer. Try again in a moment."
            ) from None

    @property
    def unsettled(self) -> int:
        """How many containers of an earlier run are neither taken over nor removed yet."""
        return sum(self._unsettled.values())

    async def next_settled(self) -> None:
        """Returns when there are fewer of them. Each has a deadline."""
        before = self.unsettled
        async with self._settled:
            await self._settled.wait_for(lambda: self.unsettled < before)

    async def _run(self) -> None:
        """Lists what is there, however long the engine is away, and takes it over user by user."""
        while (found := await self._found()) is None:  # noqa: ASYNC110 - the engine tells nobody that it is back
            await asyncio.sleep(RETRY_S)
        by_user: dict[str, list[FoundRunner]] = {}
        for one in found:
            by_user.setdefault(one.workspace_hash, []).append(one)
        for user, theirs in by_user.items():
            lock = self._register.lock(user)
            await lock.acquire()  # at once: nobody asks for a lock before the list is known
            self._unsettled[user] = len(theirs)
            task = asyncio.create_task(self._settle(user, lock, theirs))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._listed.set()
        if found:
            log.info("found %d runners of an earlier run", len(found))

    async def _found(self) -> Sequence[FoundRunner] | None:
        try:
            async with asyncio.timeout(FIND_S):
                return await self._mode.found()
        except SidecarError as error:
            self._fault = error
            log.warning("the runners cannot be listed: %s", error.detail or error.message)
        except TimeoutError:
            log.warning("the runners cannot be listed: no answer in %g s", FIND_S)
        return None

    async def _settle(self, user: str, lock: asyncio.Lock, theirs: Sequence[FoundRunner]) -> None:
        """Takes over the one that can go on, and removes the rest. Of two key sets nobody knows which is the newer."""
        try:
            usable = [one for one in theirs if one.current and one.state != "ended"]
            if len(usable) != 1 or not await self._adopt(usable[0]):
                usable = []
            for one in theirs:
                if one not in usable:
                    await self._remove(one.name)
        finally:
            del self._unsettled[user]
            lock.release()
            async with self._settled:
                self._settled.notify_all()

    async def _adopt(self, found: FoundRunner) -> bool:
        try:
            async with asyncio.timeout(ADOPT_S):
                await self._take_over(found)
        except (SidecarError, TimeoutError, OSError) as error:
            log.warning("runner %s cannot be taken over: %s", found.name, getattr(error, "detail", "") or error)
            return False
        return True

    async def _take_over(self, found: FoundRunner) -> None:
        user = found.workspace_hash
        spec = specify(self._settings, user, found.key_sig, "")
        text = await asyncio.to_thread(spec.config_file.read_text)
        spec = specify(self._settings, user, found.key_sig, text)
        live = await LiveRunner.adopt(cast(LastingRunner, self._mode.make(spec)), self._http)
        try:
            await self._on_start(user, live.client)
        except BaseException:
            await live.let_go()
            raise
        if found.state == "paused":
            live.used_at -= self._settings.runner_pause_s  # it has been idle that long: it is paused again soon
        self._register.add(live)

    async def _remove(self, name: str) -> None:
        """What can't be removed now is found again by the caretaker."""
        log.info("runner %s of an earlier run is removed", name)
        try:
            async with asyncio.timeout(REMOVE_S):
                await self._mode.remove(name)
        except (SidecarError, TimeoutError) as error:
            log.warning("runner %s cannot be removed: %s", name, getattr(error, "detail", "") or error)
