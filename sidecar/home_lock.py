"""One sidecar for each home: a second one would take over the runners of the first, and end the turns in them."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from sidecar.settings import SettingsError

NAME: Final = "sidecar.lock"
WAIT_S: Final = 10.0
"""How long to wait for one that is just stopping."""


@asynccontextmanager
async def only_one(home: Path, wait_s: float | None = None) -> AsyncIterator[None]:
    """While inside, no other process is. It ends with the process, however that ends. Raises ``SettingsError``.

    Where the file can't be made or the file system knows no locks nothing is held: whatever needs the folder says why.
    """
    descriptor = _opened(home)
    try:
        if descriptor is not None and not await _locked(descriptor, WAIT_S if wait_s is None else wait_s):
            raise SettingsError(
                f"Another sidecar runs with {home}. Stop it, or give this one an OPEN_PERSONA_HOME of its own."
            )
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _opened(home: Path) -> int | None:
    with contextlib.suppress(OSError):
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(home / NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    return None


async def _locked(descriptor: int, wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)
        except OSError:
            return True
        else:
            return True
