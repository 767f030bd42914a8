"""What is done for runners while nobody asks: pause and stop idle ones, and compare what runs with what is known.

One timer. It touches no runner in a turn, but one whose container is gone: its turns are told.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine

from sidecar.errors import SidecarError
from sidecar.runners.base import FoundRunner, RunnerMode
from sidecar.runners.live import LiveRunner
from sidecar.runners.register import Register
from sidecar.settings import Settings

log = logging.getLogger(__name__)
ROUND_S = 30.0
CALL_S = 30.0
"""How long one call of the mode may take; the next round tries again."""

OUTDATED = "Open Persona has been updated: your workspace is started again …"


class Caretaker:
    """``settled`` returns once it is known which runners an earlier sidecar has left."""

    def __init__(
        self,
        settings: Settings,
        mode: RunnerMode,
        register: Register,
        settled: Callable[[], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._mode = mode
        self._register = register
        self._settled = settled
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def _round_s(self) -> float:
        idle = [self._settings.runner_idle_s, *([self._settings.runner_pause_s] if self._mode.lasting else [])]
        return min(ROUND_S, *(seconds / 4 for seconds in idle)) * random.uniform(0.9, 1.1)  # noqa: S311 - no secret

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._round_s)
            await _logged("a round over the runners", self.round())

    async def round(self) -> None:
        """One round: what ended or is idle, then, where runners outlive us, what the mode says is there."""
        await asyncio.gather(*(_logged(f"runner {live.spec.name}", self._tend(live)) for live in self._register.live))
        if self._mode.lasting:
            await self._settled()
            await self.reconcile()

    async def _tend(self, live: LiveRunner) -> None:
        user = live.spec.workspace_hash
        used_at = live.used_at
        idle_s = time.monotonic() - used_at
        stop = live.gone.is_set() or idle_s > self._settings.runner_idle_s
        pause = self._mode.lasting and not live.paused and idle_s > self._settings.runner_pause_s
        if live.turns or not (stop or pause):
            return
        async with self._register.lock(user):
            if live.turns or live.used_at != used_at or self._register.of(user) is not live:
                return  # somebody was faster
            if stop:
                await self._register.discard(user)
            else:
                await live.pause()

    async def reconcile(self) -> None:
        """Removes what nobody owns, forgets what is gone, puts right what others have undone.

        Raises ``RunnerError`` where the mode can't tell what is there.
        """
        known = self._register.live
        async with asyncio.timeout(CALL_S):
            found = {one.name: one for one in await self._mode.found()}
        await asyncio.gather(*(_logged(f"runner {name}", self._remove_stray(one)) for name, one in found.items()))
        await asyncio.gather(*(_logged(f"runner {live.spec.name}", self._compare(live, found)) for live in known))
        async with asyncio.timeout(CALL_S):
            await self._mode.tidy()

    async def _remove_stray(self, found: FoundRunner) -> None:
        lock = self._register.lock(found.workspace_hash)
        if lock.locked() or self._register.named(found.name) is not None:
            return  # one that is being started is nobody's yet
        async with lock:
            if self._register.named(found.name) is None:
                log.warning("runner %s belongs to nobody and is removed", found.name)
                async with asyncio.timeout(CALL_S):
                    await self._mode.remove(found.name)

    async def _compare(self, live: LiveRunner, found: dict[str, FoundRunner]) -> None:
        one = found.get(live.spec.name)
        if one is None or one.state == "ended":
            await self._lose(live)
            return
        live.outdated = live.outdated or not one.current
        if live.outdated and not live.turns:
            async with self._register.lock(live.spec.workspace_hash):
                if not live.turns and self._register.of(live.spec.workspace_hash) is live:
                    await self._register.discard(live.spec.workspace_hash, OUTDATED)
        elif not live.paused:
            async with asyncio.timeout(CALL_S):
                await live.lasting.mend()

    async def _lose(self, live: LiveRunner) -> None:
        """It is gone, and no event has told so."""
        if self._register.of(live.spec.workspace_hash) is not live:
            return
        log.warning("runner %s is gone", live.spec.name)
        await live.end_for(
            "Your workspace's runner is gone. Send the message again; it starts afresh with your files.",
            "runner_lost",
        )
        if not live.turns:
            async with self._register.lock(live.spec.workspace_hash):
                self._register.drop(live)


async def _logged(what: str, work: Coroutine[object, object, None]) -> None:
    """Runs ``work``; its failure is the log's alone, and the next round's to mend."""
    try:
        await work
    except (SidecarError, TimeoutError, OSError) as error:
        log.warning("%s: %s", what, getattr(error, "detail", "") or error or type(error).__name__)
    except Exception:
        log.exception("%s", what)
