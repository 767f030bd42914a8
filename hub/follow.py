"""Following the integrations' folder while the hub runs: look, compare, take what changed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from hub.board import Board
from hub.catalog import log_changes, succeeding
from hub.folder import Folder
from hub.manifest_file import ManifestFile
from hub.monitor import Monitor

logger = logging.getLogger(__name__)
T = TypeVar("T")

RESCAN_S = 0.75
"""Between two looks. A change counts at the second look that sees it, so it is taken within 1.5 s."""

LOOK_S = 10.0
"""A look that takes longer is told of; there is never a second one beside it."""

Gone = Callable[[str], None]


class Follower:
    """Keeps the board's catalog what the folder says. :meth:`start` once, :meth:`close` once.

    ``gone`` is told the name of each integration whose folder went. A folder that can't be read changes nothing and is
    logged once.
    """

    def __init__(
        self, folder: Folder, board: Board, monitor: Monitor, gone: Gone, *, rescan_s: float, look_s: float = LOOK_S
    ) -> None:
        self._folder = folder
        self._board = board
        self._monitor = monitor
        self._gone = gone
        self._rescan_s = rescan_s
        self._look_s = look_s
        self._looking: asyncio.Future[tuple[ManifestFile, ...]] | None = None
        self._taken: tuple[ManifestFile, ...] | None = None
        self._problem = ""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="follow the folder")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        if self._looking is not None and not self._looking.cancel():
            self._looking.exception()  # nobody asks for it any more

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._rescan_s)
            try:
                files = await self._look()
                if files != self._taken:
                    await self._take(files)
                    self._taken = files
                self._tell("")
            except TimeoutError:
                self._tell(f"the folder does not answer within {self._look_s:g} s")
            except OSError as error:
                self._tell(f"the folder can't be read: {error.strerror or type(error).__name__}")
            except Exception as error:
                if not self._problem:
                    logger.exception("the integrations' folder can't be followed")
                self._problem = repr(error)

    async def _look(self) -> tuple[ManifestFile, ...]:
        """The folder's manifests. Raises OSError, TimeoutError too; a look that is late is waited for again."""
        if self._looking is None:
            self._looking = in_thread(self._folder.look)
        await asyncio.wait((self._looking,), timeout=self._look_s)
        if not self._looking.done():
            raise TimeoutError
        looked, self._looking = self._looking, None
        return looked.result()

    async def _take(self, files: tuple[ManifestFile, ...]) -> None:
        before = self._board.catalog
        after = succeeding(before, files)
        if after == before:
            return
        await self._monitor.follow(after)
        for name in before.names - after.names:
            self._gone(name)
        log_changes(before, after)

    def _tell(self, problem: str) -> None:
        """Each problem once, and once that it is over."""
        if problem == self._problem:
            return
        self._problem = problem
        if problem:
            logger.error("OPEN_PERSONA_MCP_SERVERS_DIR: %s; what was read before stays in use", problem)
        else:
            logger.info("OPEN_PERSONA_MCP_SERVERS_DIR: the folder is read again")


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """``work`` in a thread that nothing waits for: a disk that hangs holds up neither the loop nor the hub's end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            settle = partial(_succeed, future, work())
        except Exception as error:  # noqa: BLE001 - whoever awaits it gets it
            settle = partial(_fail, future, error)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle)

    threading.Thread(target=run, name="hub-folder", daemon=True).start()
    return future


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
