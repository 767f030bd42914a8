"""One seeder at a time, of several workers of one Open WebUI.

The lock is the kernel's on a file in Open WebUI's data directory, so it ends with the process that holds it, however
that ends. The file's text is the state of the seeding, which the other workers read from there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from .seed_state import SeedState

FILE = "open_persona_seed.lock"


class SeedLock:
    """The lock in ``folder``; not taken yet."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._file: int | None = None

    @property
    def held(self) -> bool:
        return self._file is not None

    def take(self) -> bool:
        """Whether this process has it now. It does not wait.

        Raises ``OSError`` when the file cannot be made, or its file system has no locks.
        """
        if self._file is not None:
            return True
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        locked = False
        try:
            locked = _lock(file)
        finally:
            if not locked:
                os.close(file)
        if locked:
            self._file = file
        return locked

    def tell(self, state: SeedState) -> None:
        """Leaves the state for the other workers. Only while the lock is held."""
        if self._file is not None:
            text = json.dumps(state.as_json()).encode()
            os.pwrite(self._file, text, 0)
            os.ftruncate(self._file, len(text))

    def told(self) -> SeedState:
        """The state that the holder left."""
        try:
            return SeedState.from_json(json.loads(self._path.read_text()))
        except (OSError, ValueError):
            return SeedState()

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _lock(file: int) -> bool:
    try:
        import fcntl
    except ImportError:  # a system without it: there Open WebUI runs as one process
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
