"""One supervised task per integration: check, note, wait, again. None of them waits for another."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from hub.board import Board
from hub.history import History, Past
from hub.manifest import Manifest
from hub.probe import Now, Observation, Prober, target_of, utc_now
from hub.state import Standing, next_delay_s, step, with_change_noted
from hub.timeline import WINDOW
from hub.wire import ProbeResult

logger = logging.getLogger(__name__)

FRESH = timedelta(minutes=10)
"""A health from before a restart is believed for this long; the first check follows at once anyway."""

JITTER = 0.1
SPREAD_S = 0.3
"""The first checks are spread over this time."""

Observer = Callable[[ProbeResult], None]


class Monitor:
    """Keeps the board and the history up to date. :meth:`start` once, :meth:`close` once."""

    def __init__(
        self, board: Board, history: History, prober: Prober, *, mcp_host: str, observe: Observer, now: Now = utc_now
    ) -> None:
        self._board = board
        self._history = history
        self._now = now
        self._watches = {
            manifest.name: _Watch(manifest, board, history, prober, mcp_host=mcp_host, observe=observe)
            for manifest in board.probed()
        }

    async def start(self) -> None:
        """Take over what was known before the restart and begin to check."""
        for name, past in (await self._history.past(self._now() - WINDOW)).items():
            self._board.restore(name, _believed(past, self._now()), past.checks)
        for watch in self._watches.values():
            watch.start()

    async def close(self) -> None:
        """End every task and wait for it."""
        await asyncio.gather(*(watch.close() for watch in self._watches.values()))

    async def check_now(self, name: str) -> ProbeResult:
        """Run the check that the schedule runs, or join the one under way; stored like any other.

        Raises:
            UnknownIntegrationError, NotProbedError.
        """
        return await self._watches[self._board.probeable(name).name].check()

    def unchecked(self) -> list[str]:
        """Integrations that have not been checked since the start."""
        return sorted(name for name, watch in self._watches.items() if not watch.checked)


class _Watch:
    """The checks of one integration."""

    def __init__(
        self, manifest: Manifest, board: Board, history: History, prober: Prober, *, mcp_host: str, observe: Observer
    ) -> None:
        self.checked = False
        self._manifest = manifest
        self._target = target_of(manifest, mcp_host)
        self._board = board
        self._history = history
        self._prober = prober
        self._observe = observe
        self._loop: asyncio.Task[None] | None = None
        self._check: asyncio.Task[ProbeResult] | None = None

    def start(self) -> None:
        self._loop = asyncio.create_task(self._run(), name=f"watch {self._manifest.name}")

    async def close(self) -> None:
        tasks = [task for task in (self._loop, self._check) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def check(self) -> ProbeResult:
        """One check at a time: whoever asks meanwhile gets the same result, and may go away without ending it."""
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._run_check(), name=f"check {self._manifest.name}")
        return await asyncio.shield(self._check)

    async def _run(self) -> None:
        await asyncio.sleep(random.uniform(0, min(SPREAD_S, self._manifest.probe.interval_s)))  # noqa: S311
        while True:
            try:
                await self.check()
            except Exception:
                logger.exception("the check of %s could not be noted", self._manifest.name)
            delay = next_delay_s(self._board.standing(self._manifest.name), self._manifest.probe.interval_s)
            await asyncio.sleep(delay * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311

    async def _run_check(self) -> ProbeResult:
        seen = await self._prober.probe(self._target)
        before = self._board.standing(self._manifest.name)
        seen = with_change_noted(before, seen, self._manifest)
        after = step(before, seen, self._manifest.probe)
        self._board.update(self._manifest.name, after, seen.result.at, seen.result.ok)
        self.checked = True
        self._observe(seen.result)
        _log(self._manifest.name, before, after, seen)
        await self._history.record(seen.result, after)
        return seen.result


def _believed(past: Past, now: datetime) -> Standing:
    """An old health is not shown as the present one; what was seen then (tools, times) stays known."""
    if timedelta(0) <= now - past.saved_at <= FRESH:
        return past.standing
    return replace(past.standing, health="starting", reason=None, detail="", action="", failures=0)


def _log(name: str, before: Standing, after: Standing, seen: Observation) -> None:
    """One line when an integration goes, one when it returns, one for each change of its tools."""
    if after.health == "down" != before.health:
        logger.warning("%s is down: %s (%s). %s", name, after.reason, after.detail, after.action)
    elif before.health == "down" != after.health:
        logger.info("%s is back: %s", name, after.health)
    elif after.reason == "tools_mismatch" != before.reason:
        logger.warning("%s is degraded: %s. %s", name, after.detail, after.action)
    elif before.reason == "tools_mismatch" and after.health == "healthy":
        logger.info("%s is healthy: its tools match the manifest", name)
    if after.tools_changed_at != before.tools_changed_at and seen.result.ok:
        logger.warning("%s changed its tools: %s", name, ", ".join(after.changed_tools[:20]))
