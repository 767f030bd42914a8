"""From a database file of an older version to one of this version, step by step.

The version is SQLite's ``user_version``; a file without tables has version 0. A step runs in one transaction together
with its new version number, so that a file has one version or the next, whatever ends the process. The file as it was
is kept beside it before the first step, as ``<file>.v<version>``.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

Migration = Callable[[sqlite3.Connection], None]
"""Changes a file of the version before; it begins and ends no transaction of its own."""

LOCK_TIMEOUT_S: Final = 5.0
"""How long to wait for another process that holds the file."""


class NewerFileError(Exception):
    """The file was written by a newer version: there is no way back."""


def migrate(path: Path, steps: Sequence[Migration]) -> None:
    """Brings the file to version ``len(steps)``; ``steps[n]`` leads from version n to n + 1. Makes a missing file.

    Raises ``NewerFileError``, and ``sqlite3.Error`` or ``OSError`` where it can't be read or written; the file then has
    the version that its last complete step gave it.
    """
    with contextlib.closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None)) as connection:
        version = _version(connection)
        if version > len(steps):
            raise NewerFileError(f"version {version}, and {len(steps)} is the newest known here")
        if version < len(steps) and _has_tables(connection):
            _keep_copy(connection, path.with_name(f"{path.name}.v{version}"))
        while _version(connection) < len(steps):
            _step(connection, steps)


def _step(connection: sqlite3.Connection, steps: Sequence[Migration]) -> None:
    """One step; none when another process was faster. The lock is taken before the version is read again."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if (version := _version(connection)) < len(steps):
            steps[version](connection)
            connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None


def _keep_copy(connection: sqlite3.Connection, copy: Path) -> None:
    """A whole copy or none, mode 0600; it replaces one of an earlier try, which is no newer."""
    descriptor, scratch = tempfile.mkstemp(dir=copy.parent, prefix=f".{copy.name}.")
    os.close(descriptor)
    try:
        with contextlib.closing(sqlite3.connect(scratch, isolation_level=None)) as target:
            connection.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
        Path(scratch).replace(copy)
    finally:
        for left in (scratch, f"{scratch}-wal", f"{scratch}-shm", f"{scratch}-journal"):
            Path(left).unlink(missing_ok=True)
