"""What keeps a runner from being started, whoever asks for it: too little free disk, or a user being removed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.errors import Busy, RunnerError

GIB = 2**30


class StartChecks:
    """``home`` is where the users' files are; ``min_free_gb`` in GiB."""

    def __init__(self, home: Path, min_free_gb: float) -> None:
        self._home = home
        self._min_free_gb = min_free_gb
        self._leaving: set[str] = set()

    async def __call__(self, user: str) -> None:
        """Returns when the user's runner may be started. Raises ``Busy`` and ``RunnerError``."""
        if user in self._leaving:
            raise Busy("Your files are being removed by the operator. Try again in a minute.")
        free = await asyncio.to_thread(_free_gb, self._home)
        if free < self._min_free_gb:
            raise RunnerError(
                f"There is too little disk space to start your workspace: {free:.2f} GiB are free, "
                f"{self._min_free_gb:g} GiB are needed. Tell the operator; 'open-persona users ls' shows who has what.",
                reason="disk_full",
            )

    @contextmanager
    def leaving(self, user: str) -> Iterator[None]:
        """While inside, no runner of this user is started. Raises ``Busy`` where the user is being removed already."""
        if user in self._leaving:
            raise Busy("This user is being removed already.")
        self._leaving.add(user)
        try:
            yield
        finally:
            self._leaving.discard(user)


def _free_gb(folder: Path) -> float:
    """What is free there for people other than root, in GiB."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize / GIB
