"""How much a user's files take, and the end of a turn that writes past what is allowed.

Counted are the blocks that are taken on the disk, of the workspace and of the user's private directories: an agent can
fill both. A sparse file counts as what it takes, a file with several names once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import stat
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sidecar.runners.live import LiveRunner

log = logging.getLogger(__name__)
INTERVAL_S: Final = 2.0
CLOSE_S: Final = 0.5
"""Between two looks at a user who is over it already."""
REST: Final = 4
"""A long look is followed by a rest so many times as long: looking takes a fifth of one core at the most."""
SLACK: Final = 8 * 2**20
"""What a turn of a user who is over it may add: opencode's own database grows by its log, 4 MiB, before it shrinks."""
MAX_FILES: Final = 500_000
"""More files and folders than that count as too much, whatever they take."""
BLOCK: Final = 512
OPEN: Final = stat.S_IRUSR | stat.S_IXUSR
_looking = ThreadPoolExecutor(2, thread_name_prefix="quota")


@dataclass(frozen=True)
class Size:
    """``taken`` in bytes. ``fault``: why not all could be counted, to follow "Your workspace"; empty if all was."""

    taken: int
    fault: str = ""


def measure(folders: Sequence[Path], stopped: threading.Event | None = None) -> Size:
    """What the files below ``folders`` take; a missing one takes nothing. Blocks: up to a second for 500,000 files."""
    count = _Count(stopped or threading.Event())
    for folder in folders:
        count.add(folder)
    return Size(count.taken, count.fault)


@dataclass
class _Count:
    stopped: threading.Event
    taken: int = 0
    files: int = 0
    fault: str = ""
    linked: set[tuple[int, int]] = field(default_factory=set)

    def add(self, root: Path) -> None:
        waiting = [str(root)]
        while waiting and not self.fault and not self.stopped.is_set():
            folder = waiting.pop()
            try:
                with _listed(folder, root) as entries:
                    for entry in entries:
                        self._entry(entry, root, waiting)
            except (FileNotFoundError, NotADirectoryError):  # removed or exchanged meanwhile, or not there yet
                continue
            except OSError as error:
                self.fault = f"holds a folder that cannot be looked into ({error.strerror})"

    def _entry(self, entry: os.DirEntry[str], root: Path, waiting: list[str]) -> None:
        with contextlib.suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            self.files += 1
            if self.files > MAX_FILES:
                self.fault = f"holds more than {MAX_FILES:,} files"
            if stat.S_ISDIR(status.st_mode):
                if status.st_mode & OPEN != OPEN and os.geteuid():
                    _reopen(entry.path, root)
                waiting.append(entry.path)
            elif status.st_nlink > 1:
                if (status.st_dev, status.st_ino) in self.linked:
                    return
                self.linked.add((status.st_dev, status.st_ino))
            self.taken += status.st_blocks * BLOCK


def _listed(folder: str, root: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
    """The entries of a folder. One that the agent has closed is opened again, or it would hide files."""
    try:
        return os.scandir(folder)
    except PermissionError:
        _reopen(folder, root)
        return os.scandir(folder)


def _reopen(folder: str, root: Path) -> None:
    """Gives a folder below ``root`` back to its owner; no link leads this anywhere else."""
    descriptor = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | os.O_NOFOLLOW | os.O_DIRECTORY)
    try:
        itself = f"/proc/self/fd/{descriptor}"
        if Path(os.readlink(itself)).is_relative_to(root.resolve()):  # noqa: PTH115 - the link says where it is now
            Path(itself).chmod(0o700)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Quota:
    """``allowed`` in bytes for one user's files. The times are for tests."""

    allowed: int
    interval_s: float = INTERVAL_S
    close_s: float = CLOSE_S

    @asynccontextmanager
    async def watched(self, live: LiveRunner) -> AsyncIterator[None]:
        """While inside, the user's files are measured; over the limit the runner is ended, and so its turns.

        The limit is what is allowed or, for a user who is over it at the beginning, that size and ``SLACK``: a turn may
        still delete or tell.
        """
        stopped = threading.Event()
        watching = asyncio.create_task(self._watch(live, stopped))
        try:
            yield
        finally:
            stopped.set()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self, live: LiveRunner, stopped: threading.Event) -> None:
        folders = (live.spec.workspace, live.spec.private.parent)
        limit = 0
        while True:
            begun = time.monotonic()
            size = await asyncio.get_running_loop().run_in_executor(_looking, measure, folders, stopped)
            limit = limit or (size.taken + SLACK if size.taken > self.allowed else self.allowed)
            if size.fault or size.taken > limit:
                log.warning("the files of %s: %s", live.spec.workspace_hash, size.fault or f"{size.taken} bytes")
                await live.end_for(over(size, self.allowed), "quota")
                return
            rest = self.interval_s if size.taken <= self.allowed else self.close_s
            await asyncio.sleep(max(rest, REST * (time.monotonic() - begun)))


def over(size: Size, allowed: int) -> str:
    """What the user is told whose files have become too much."""
    what = size.fault or f"holds {shown(size.taken)}; {shown(allowed)} are allowed"
    return (
        f"Your workspace {what}. The answer was stopped; your files are kept. Ask for files to be deleted that you no "
        "longer need, or ask the operator for more room."
    )


def shown(taken: int) -> str:
    """Bytes for people: ``2.4 GiB``."""
    size = float(taken)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
