"""Reading what belongs to users, and so to their agents, for a backup that may run as root.

An agent can put a link where a file was a moment ago, close a folder, nest folders without end, and write files that
only look like databases. None of that may lead a backup elsewhere, end it, or keep it from ending: folders and files
are opened one below the other without following a link, no program but a plain copy looks into them, and what can't be
read is left out and named.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

OPENCODE_DATABASE = "opencode.db"
DEEPEST = 200
LONGEST = 3000
"""Bytes of a path: what is longer could not be put back."""

HOLES = 1 << 30
"""A file with more bytes of nothing takes no room, and would take days to pack."""

TRIES = 5
SALT = slice(16, 24)
CHUNK = 1 << 20


def walked(top: Path, left_out: list[str]) -> Iterator[tuple[int, str, list[str]]]:
    """Each folder below ``top``: its descriptor, its path below ``top``, and the sorted names in it; parents first."""

    def fault(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # gone since it was listed
            left_out.append(f"{error.filename}: {error.strerror}")

    for place, folders, files, descriptor in os.fwalk(str(top), follow_symlinks=False, onerror=fault):
        below = os.path.relpath(place, top)
        yield descriptor, "" if below == "." else below, sorted((*folders, *files))
        if below.count(os.sep) >= DEEPEST or len(os.fsencode(below)) > LONGEST:
            left_out += [f"{place}/{name}: nested too deep" for name in folders]
            folders.clear()


@contextlib.contextmanager
def opened(folder: int, name: str) -> Iterator[BinaryIO]:
    """A plain file. Raises ``OSError`` for whatever else has its place by now, and for one that is all but empty."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("is no file any more")
        if status.st_size > HOLES and status.st_size - _written(file.fileno(), status.st_size) > HOLES:
            raise OSError("has holes that are larger than what it holds")
        yield file


def _written(file: int, size: int) -> int:
    """The bytes that are not holes."""
    total = at = 0
    while at < size:
        try:
            begin = os.lseek(file, at, os.SEEK_DATA)
        except OSError:  # nothing but a hole is left
            break
        at = os.lseek(file, begin, os.SEEK_HOLE)
        total += at - begin
    os.lseek(file, 0, os.SEEK_SET)
    return total


def copied_database(folder: int, name: str, target: Path) -> bool:
    """A whole copy of a SQLite database that may be in use; False where there is none to be had.

    SQLite never opens the original: as root it would do what a journal that an agent has put beside it says, and that
    can name any file to be deleted. File and log are copied, the log last; as long as it was not begun anew meanwhile
    (its salt says so) it has every page that can have been written into the file while that was read.
    """
    log = f"{name}-wal"
    beside = target.with_name(f"{target.name}-wal")
    for _ in range(TRIES):
        before = _salt(folder, log)
        _copy(folder, name, target)
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        with contextlib.suppress(FileNotFoundError):
            _copy(folder, log, beside)
        if _salt(folder, log) == before:
            return _folded(target)
    return False


def _salt(folder: int, name: str) -> bytes:
    try:
        with opened(folder, name) as file:
            return file.read(32)[SALT]
    except FileNotFoundError:
        return b""


def _copy(folder: int, name: str, target: Path) -> None:
    with opened(folder, name) as source, target.open("wb") as file:
        left = os.fstat(source.fileno()).st_size
        while left > 0 and (chunk := source.read(min(CHUNK, left))):
            file.write(chunk)
            left -= len(chunk)


def _folded(target: Path) -> bool:
    """Puts the log into the copy; whether that is a database then."""
    try:
        with contextlib.closing(sqlite3.connect(target)) as connection:
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute("PRAGMA journal_mode=DELETE")
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.Error:
        return False
