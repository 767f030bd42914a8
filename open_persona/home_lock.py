"""One home, one stack: two of them would write one database and start two runners for one user."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from open_persona.errors import HomeInUse
from open_persona.home import HOME_SETTING, unwritable

FILE = "up.lock"
"""Holds the pid of the command that has the lock. It stays; the lock ends with the process, however that ends."""


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Has the home alone inside. Raises ``HomeInUse`` with the other's pid, ``HomeRefused`` if it can't be written."""
    path = home / FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unwritable(path, error) from None
    try:
        _take(descriptor, home)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, home: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        pid = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        raise HomeInUse(
            f"Another open-persona{f' (pid {pid})' if pid else ''} already runs the services on {home}. "
            f"Stop that one first, or set {HOME_SETTING} to another folder."
        ) from None
    except OSError as error:
        raise unwritable(home / FILE, error) from None
