"""The seeder: runs inside Open WebUI's lifespan, keeps what is seeded up to date, and ends with it.

It never keeps Open WebUI from starting: it is a task beside it, and what it cannot do now it tries again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from .seed_lock import SeedLock
from .seed_state import SeedState, judge
from .seeding import seed
from .settings import Settings
from .sources import Sources

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 20.0
"""What an admin changed or deleted that is the seeder's comes back within so long."""

LOCK_EVERY_S = 5.0
RUN_S = 60.0
END_S = 5.0

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


class Router(Protocol):
    lifespan_context: Lifespan


class App(Protocol):
    """What is used of Open WebUI's application."""

    @property
    def router(self) -> Router: ...

    @property
    def state(self) -> Any: ...


def attach(app: App) -> None:
    """Has ``app`` run the seeder for as long as its lifespan lasts."""
    started = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(running: App) -> AsyncIterator[Mapping[str, object] | None]:
        async with started(running) as state:
            seeder = Seeder(running, Settings.from_environment(os.environ), data_folder())
            running.state.open_persona_seeder = seeder
            task = asyncio.create_task(seeder.run(), name="open-persona-seeder")
            try:
                yield state
            finally:
                task.cancel()
                await asyncio.wait({task}, timeout=END_S)

    app.router.lifespan_context = lifespan


def data_folder() -> Path:
    """Where Open WebUI keeps its data."""
    from open_webui.env import DATA_DIR

    return Path(DATA_DIR)


class Seeder:
    """The seeder of one worker. Of several workers one seeds; the others stand by."""

    def __init__(self, app: object, settings: Settings, folder: Path) -> None:
        self._app = app
        self._settings = settings
        self._lock = SeedLock(folder)
        self._state = SeedState()

    @property
    def state(self) -> SeedState:
        """How the seeding stands, whichever worker does it."""
        return self._state if self._lock.held else self._lock.told()

    async def run(self) -> None:
        """Seeds until cancelled."""
        try:
            await self._take_lock()
            while True:
                try:
                    await self._follow()
                except Exception:
                    logger.exception("the seeder stopped and starts again")
                await asyncio.sleep(LOCK_EVERY_S)
        finally:
            self._lock.release()

    async def _follow(self) -> None:
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            sources = Sources(self._settings, session)
            group.create_task(sources.follow_hub())
            group.create_task(sources.follow_sidecar())
            group.create_task(self._keep_seeded(sources))

    async def _take_lock(self) -> None:
        while True:
            try:
                if self._lock.take():
                    self._lock.tell(self._state)
                    return
            except OSError as error:
                logger.error("the lock of the seeder cannot be taken: %s", error.strerror)
            await asyncio.sleep(LOCK_EVERY_S)

    async def _keep_seeded(self, sources: Sources) -> None:
        while True:
            sources.changed.clear()
            self._tell(await self._seed_once(sources))
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await sources.changed.wait()
            except TimeoutError:
                pass

    async def _seed_once(self, sources: Sources) -> SeedState:
        known = sources.known
        try:
            async with asyncio.timeout(RUN_S):
                problems = await seed(self._app, self._settings, known)
        except TimeoutError:
            problems = [f"Seeding took longer than {RUN_S:.0f} s. Is Open WebUI's database busy?"]
        revision = known.catalog.revision if known.catalog else ""
        return judge(problems, sources.waiting_for, revision, datetime.now(UTC).isoformat(timespec="seconds"))

    def _tell(self, state: SeedState) -> None:
        if (state.state, state.revision, state.problem) == (
            self._state.state,
            self._state.revision,
            self._state.problem,
        ):
            return
        if (state.state, state.problem) != (self._state.state, self._state.problem):
            logger.info("seeding: %s. %s", state.state, state.problem)
        self._state = state
        self._lock.tell(state)
