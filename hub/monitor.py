"""One supervised task per integration: check, note, wait, again. None of them waits for another."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

from hub.board import Board
from hub.catalog import Catalog
from hub.errors import HistoryError, NotProbedError
from hub.history import History, Past
from hub.manifest import Manifest
from hub.probe import Now, Observation, Prober, target_of, utc_now
from hub.state import Standing, next_delay_s, step, unproven, with_change_noted
from hub.timeline import WINDOW
from hub.wire import ProbeResult

logger = logging.getLogger(__name__)

FRESH = timedelta(minutes=10)
"""A health from before a restart is believed for this long; the first check follows at once anyway."""

JITTER = 0.1
SPREAD_S = 0.3
"""The first checks are spread over this time."""

RECALL_S = 2.0
"""How long a new integration waits to be known again by its history."""

_OF_TOOLS = ("tools_mismatch", "tools_changed")

Observer = Callable[[ProbeResult], None]


class Monitor:
    """Keeps the board and the history up to date. :meth:`start` once, :meth:`close` once."""

    def __init__(
        self, board: Board, history: History, prober: Prober, *, mcp_host: str, observe: Observer, now: Now = utc_now
    ) -> None:
        self._board = board
        self._history = history
        self._now = now
        self._observe = observe
        self._watch = partial(
            _Watch, board=board, history=history, prober=prober, mcp_host=mcp_host, observe=self._checked
        )
        self._watches: dict[str, _Watch] = {}
        self._unchecked: set[str] = set()
        self._ending: set[asyncio.Task[None] | asyncio.Task[ProbeResult]] = set()

    async def start(self) -> None:
        """Take over what was known before the restart and begin to check.

        Raises:
            HistoryError: that can't be read.
        """
        self._restore(await self._history.past(self._now() - WINDOW, self._board.catalog.names))
        self._unchecked = {manifest.name for manifest in self._board.probed()}
        self._reconcile(SPREAD_S)

    async def follow(self, catalog: Catalog) -> None:
        """Make this the board's catalog. The checks of new and changed integrations begin at once, all others go on.

        A new one that was there before is known again by its history. Where that can't be read, a pinned one's tools
        wait for an approval.
        """
        past: Mapping[str, Past] = {}
        if new := catalog.names - self._board.catalog.names:
            try:
                async with asyncio.timeout(RECALL_S):
                    past = await self._history.past(self._now() - WINDOW, new)
            except (HistoryError, TimeoutError) as error:
                cause = str(error) or "the disk does not answer"
                logger.warning("what was known of %s is not shown: %s", ", ".join(sorted(new)), cause)
                # It may have been approved as something else: of a pinned one nothing counts as approved now.
                past = {name: Past(self._now(), Standing(approved=()), ()) for name in new}
        # From here on without a pause: nobody sees a new catalog with old checks.
        self._board.replace(catalog)
        self._restore(past)
        self._reconcile()

    async def close(self) -> None:
        """End every task and wait for it."""
        for name in list(self._watches):
            self._end(name)
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def check_now(self, name: str) -> ProbeResult:
        """Run the check that the schedule runs, or join the one under way; stored like any other.

        Where the manifest changes meanwhile, the result is that of the new one.

        Raises:
            UnknownIntegrationError, NotProbedError.
        """
        while True:
            manifest = self._board.probeable(name)
            watch = self._watches.get(name)
            if watch is None:
                raise NotProbedError(f"{manifest.title} is not checked now: the hub stops.", "Start the hub.")
            try:
                return await watch.check()
            except asyncio.CancelledError:
                if self._watches.get(name) is watch or _is_ending():
                    raise

    def unchecked(self) -> list[str]:
        """Integrations of the hub's start that have not been checked since."""
        return sorted(self._unchecked)

    def _checked(self, result: ProbeResult) -> None:
        self._unchecked.discard(result.name)
        self._observe(result)

    def _restore(self, past: Mapping[str, Past]) -> None:
        for name, one in past.items():
            self._board.restore(name, _believed(one, self._now()), one.checks)

    def _reconcile(self, spread_s: float = 0.0) -> None:
        """Make the checks those of the board's integrations."""
        wanted = {manifest.name: manifest for manifest in self._board.probed()}
        self._unchecked &= wanted.keys()
        for name, watch in list(self._watches.items()):
            if wanted.get(name) != watch.manifest:
                self._end(name)
        for name in wanted.keys() - self._watches.keys():
            self._watches[name] = self._watch(wanted[name])
            self._watches[name].start(spread_s)

    def _end(self, name: str) -> None:
        """Its tasks are cancelled at once; the goodbyes that they still say are waited for at the hub's end alone."""
        for task in self._watches.pop(name).cancel():
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


class _Watch:
    """The checks of one integration by one manifest."""

    def __init__(
        self, manifest: Manifest, *, board: Board, history: History, prober: Prober, mcp_host: str, observe: Observer
    ) -> None:
        self.manifest = manifest
        self._target = target_of(manifest, mcp_host)
        self._board = board
        self._history = history
        self._prober = prober
        self._observe = observe
        self._loop: asyncio.Task[None] | None = None
        self._check: asyncio.Task[ProbeResult] | None = None
        self._storing = False

    def start(self, spread_s: float) -> None:
        """Begin to check, the first time within ``spread_s``."""
        self._loop = asyncio.create_task(self._run(spread_s), name=f"watch {self.manifest.name}")

    def cancel(self) -> list[asyncio.Task[None] | asyncio.Task[ProbeResult]]:
        """Look no more; gives the tasks that are ending. What was seen is still stored."""
        tasks = [task for task in (self._loop, self._check) if task is not None]
        for task in tasks:
            if task is not self._check or not self._storing:
                task.cancel()
        return tasks

    async def check(self) -> ProbeResult:
        """One check at a time: whoever asks meanwhile gets the same result, and may go away without ending it."""
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._run_check(), name=f"check {self.manifest.name}")
        return await asyncio.shield(self._check)

    async def _run(self, spread_s: float) -> None:
        interval_s = self.manifest.probe.interval_s
        await asyncio.sleep(random.uniform(0, min(spread_s, interval_s)))  # noqa: S311
        while True:
            try:
                await self.check()
            except Exception:
                logger.exception("the check of %s could not be noted", self.manifest.name)
            delay = next_delay_s(self._board.standing(self.manifest.name), interval_s)
            await asyncio.sleep(delay * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311

    async def _run_check(self) -> ProbeResult:
        self._storing = False
        seen = await self._prober.probe(self._target)
        before = self._board.standing(self.manifest.name)
        seen = with_change_noted(before, seen, self.manifest)
        after = step(before, seen, self.manifest)
        self._board.update(after, seen.result)
        self._observe(seen.result)
        _log(self.manifest.name, before, after, seen)
        self._storing = True
        await self._history.record(seen.result, after)
        return seen.result


def _believed(past: Past, now: datetime) -> Standing:
    """An old health is not shown as the present one; what was seen then (tools, times) stays known."""
    return past.standing if timedelta(0) <= now - past.saved_at <= FRESH else unproven(past.standing)


def _is_ending() -> bool:
    """Whether the task that runs now was itself cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _log(name: str, before: Standing, after: Standing, seen: Observation) -> None:
    """One line when an integration goes, one when it returns, one for each change of its tools."""
    if after.health == "down" != before.health:
        logger.warning("%s is down: %s (%s). %s", name, after.reason, after.detail, after.action)
    elif before.health == "down" != after.health:
        logger.info("%s is back: %s", name, after.health)
    elif after.reason != before.reason and after.reason in _OF_TOOLS:
        logger.warning("%s is degraded: %s. %s", name, after.detail, after.action)
    elif before.reason in _OF_TOOLS and after.health == "healthy":
        logger.info("%s is healthy: its tools are as stated and approved", name)
    if after.tools_changed_at != before.tools_changed_at and seen.result.ok:
        logger.warning("%s changed its tools: %s", name, ", ".join(after.changed_tools[:20]))
