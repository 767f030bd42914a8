"""How much a user's files take, and the end of a turn that writes past what is allowed.

Counted are the blocks that are taken on the disk, of the workspace and of the user's private directories: an agent can
fill both. A sparse file counts as what it takes, a file with several names once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import stat
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
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
MORE_FILES: Final = 1_000
"""How many a turn of a user who has too many already may add."""
UNCOUNTED: Final = 2
"""Counting ends at so many times ``MAX_FILES``; a turn is ended long before."""
LONGEST: Final = 3_000
DEEPEST: Final = 65_536
"""Bytes of a path: the kernel takes 4096 at once, a longer one goes in pieces, and one beyond this is a fault."""
BLOCK: Final = 512
OPEN: Final = stat.S_IRUSR | stat.S_IXUSR
NEARLY_FULL: Final = (
    "The disk is nearly full, and a program of yours may be what fills it. The answer was stopped; your files are "
    "kept. Tell the operator if it goes on."
)
_looking = ThreadPoolExecutor(2, thread_name_prefix="quota")


@dataclass(frozen=True)
class Size:
    """``taken`` in bytes. ``fault``: why not all could be counted, to follow "Your workspace"; empty if all was."""

    taken: int
    fault: str = ""
    files: int = 0


def measure(folders: Sequence[Path], stopped: threading.Event | None = None) -> Size:
    """What the files below ``folders`` take; a missing one takes nothing. Blocks: up to a second for 500,000 files."""
    count = _Count(stopped or threading.Event())
    for folder in folders:
        count.add(folder)
    return Size(count.taken, count.fault, count.files)


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
                        self._entry(entry, folder, root, waiting)
            except (FileNotFoundError, NotADirectoryError):  # removed or exchanged meanwhile, or not there yet
                continue
            except OSError as error:
                self.fault = f"holds a folder that cannot be looked into ({error.strerror})"

    def _entry(self, entry: os.DirEntry[str], folder: str, root: Path, waiting: list[str]) -> None:
        with contextlib.suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            self.files += 1
            if self.files > MAX_FILES * UNCOUNTED:
                self.fault = f"holds more than {MAX_FILES * UNCOUNTED:,} files"
            if stat.S_ISDIR(status.st_mode):
                path = f"{folder}/{entry.name}"
                if status.st_mode & OPEN != OPEN and os.geteuid():
                    _reopen(path, root)
                waiting.append(path)
            elif status.st_nlink > 1:
                if (status.st_dev, status.st_ino) in self.linked:
                    return
                self.linked.add((status.st_dev, status.st_ino))
            self.taken += status.st_blocks * BLOCK


@contextlib.contextmanager
def _listed(folder: str, root: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    """The entries of a folder. One that the agent has closed is opened again, or it would hide files."""
    if len(os.fsencode(folder)) <= LONGEST:
        try:
            listed = os.scandir(folder)
        except PermissionError:
            _reopen(folder, root)
            listed = os.scandir(folder)
        with listed:
            yield listed
        return
    descriptor = _far_down(folder)
    try:
        with os.scandir(descriptor) as listed:
            yield listed
    finally:
        os.close(descriptor)


def _far_down(folder: str) -> int:
    """The descriptor of a folder whose path is too long for the kernel, opened some of it at a time."""
    if len(folder) > DEEPEST:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    descriptor = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    for piece in _pieces(folder):
        try:
            below = os.open(piece, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def _pieces(folder: str) -> Iterator[str]:
    piece = ""
    for part in folder.strip("/").split("/"):
        if piece and len(os.fsencode(piece)) + len(os.fsencode(part)) >= LONGEST:
            yield piece
            piece = ""
        piece = f"{piece}/{part}" if piece else part
    yield piece


def _reopen(folder: str, root: Path) -> None:
    """Gives a folder below ``root`` back to its owner; no link leads this anywhere else."""
    flags = os.O_NOFOLLOW | os.O_DIRECTORY
    descriptor = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | flags)
    try:
        itself = f"/proc/self/fd/{descriptor}"
        if Path(os.readlink(itself)).is_relative_to(root.resolve()):  # noqa: PTH115 - the link says where it is now
            Path(itself).chmod(0o700)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Quota:
    """``allowed`` in bytes for one user's files. The times are for tests.

    ``least_free`` in bytes: with less on the disk a turn with a shell is ended, whatever its user's files take. A
    program can hold a file that has no name any more, and no look at folders finds it.
    """

    allowed: int
    least_free: int = 0
    interval_s: float = INTERVAL_S
    close_s: float = CLOSE_S

    @asynccontextmanager
    async def watched(self, live: LiveRunner) -> AsyncIterator[None]:
        """While inside, the user's files are measured; over the limit the runner is ended, and so its turns.

        The limit is what is allowed or, for a user who is over it at the beginning, that size and ``SLACK``, and that
        number of files and ``MORE_FILES``: a turn may still delete or tell.
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
        limit = most = 0
        while True:
            begun = time.monotonic()
            size = await asyncio.get_running_loop().run_in_executor(_looking, measure, folders, stopped)
            limit = limit or (size.taken + SLACK if size.taken > self.allowed else self.allowed)
            most = most or (size.files + MORE_FILES if size.files > MAX_FILES else MAX_FILES)
            if size.fault or size.taken > limit or size.files > most:
                log.warning("the files of %s: %s", live.spec.workspace_hash, size.fault or f"{size.taken} bytes")
                await live.end_for(over(size, self.allowed), "quota")
                return
            if live.alone and await asyncio.to_thread(_free, live.spec.workspace) < self.least_free:
                log.warning("the disk is nearly full, and %s has a shell: the turn is ended", live.spec.workspace_hash)
                await live.end_for(NEARLY_FULL, "disk_full")
                return
            over_it = size.taken > self.allowed or size.files > MAX_FILES
            rest = self.close_s if over_it else self.interval_s
            await asyncio.sleep(max(rest, REST * (time.monotonic() - begun)))


def _free(folder: Path) -> int:
    """What is free there for people other than root, in bytes."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def over(size: Size, allowed: int) -> str:
    """What the user is told whose files have become too much."""
    too_many = f"holds {size.files:,} files; {MAX_FILES:,} are allowed" if size.files > MAX_FILES else ""
    what = size.fault or too_many or f"holds {shown(size.taken)}; {shown(allowed)} are allowed"
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
