"""A consistent copy of opencode's database, from under a running opencode.

SQLite's own backup follows links, and the agent could put one where its database was. So file and log are read through
descriptors that follow none. The log is read after the file: as long as it was not begun anew meanwhile (its salt says
so), it holds every page that can have been written into the file while that was read.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from sidecar.holes import refuse_holes

NAME: Final = "opencode.db"
TRIES: Final = 5
SALT: Final = slice(16, 24)


def copy_database(data: Path, target: Path) -> bool:
    """Copies ``<data>/opencode/opencode.db`` to ``target``; False where there is none.

    Raises ``OSError`` where it is no plain file, or is changed faster than it can be read.
    """
    log = target.with_name(f"{target.name}-wal")
    with contextlib.ExitStack() as stack:
        folder = _folder(data, stack)
        if folder is None:
            return False
        for _ in range(TRIES):
            before = _salt(folder)
            if not _copy(folder, NAME, target):
                return False
            _copy(folder, f"{NAME}-wal", log)
            if _salt(folder) == before and (not log.exists() or log.read_bytes()[SALT] == before):
                _fold(target)
                return True
    raise OSError("opencode's database changes too fast to be copied")


def _folder(data: Path, stack: contextlib.ExitStack) -> int | None:
    try:
        above = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        stack.callback(os.close, above)
        folder = os.open("opencode", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
    except FileNotFoundError:
        return None
    stack.callback(os.close, folder)
    return folder


@contextlib.contextmanager
def _opened(folder: int, name: str) -> Iterator[BinaryIO | None]:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        yield None
        return
    with os.fdopen(descriptor, "rb") as file:
        yield file


def _salt(folder: int) -> bytes:
    with _opened(folder, f"{NAME}-wal") as file:
        return file.read(32)[SALT] if file else b""


def _copy(folder: int, name: str, target: Path) -> bool:
    target.unlink(missing_ok=True)
    with _opened(folder, name) as source:
        if source is None:
            return False
        refuse_holes(source.fileno())
        with target.open("wb") as file:
            shutil.copyfileobj(source, file, 2**20)
    return True


def _fold(target: Path) -> None:
    """Puts the log into the file, so that one file is the whole copy. Raises ``OSError`` where that is no database."""
    try:
        with contextlib.closing(sqlite3.connect(target)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
            if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise OSError("the copy of opencode's database is broken")
    except sqlite3.Error as error:
        raise OSError(f"opencode's database can't be copied ({error})") from None
