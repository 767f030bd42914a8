"""A process that watches over the programs of a bridge: none outlives the bridge, however that ends."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

logger = logging.getLogger(__name__)

_WATCH = Path(__file__).with_name("watch.py")
_END_S = 2.0


class Guard:
    """Watches over process groups and their folders from :meth:`hold` to :meth:`release`. Close it at the end."""

    def __init__(self) -> None:
        # A session of its own: what ends the bridge's group must not end the guard.
        self._watcher = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-I", "-S", str(_WATCH)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            env={"PATH": os.environ.get("PATH", "")},
        )

    @property
    def pid(self) -> int:
        return self._watcher.pid

    def hold(self, group: int, folder: Path) -> None:
        self._tell(f"+{group} {folder}\n")

    def release(self, group: int) -> None:
        self._tell(f"-{group}\n")

    async def close(self) -> None:
        """Ends the watcher, and with it whatever it still holds."""
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()
        try:
            await asyncio.to_thread(self._watcher.wait, _END_S)
        except subprocess.TimeoutExpired:
            self._watcher.kill()
            self._watcher.wait()

    def _tell(self, line: str) -> None:
        assert self._watcher.stdin is not None
        try:
            os.write(self._watcher.stdin.fileno(), line.encode())
        except OSError as error:
            logger.error("the guard over programs has gone (%s); restart this server", error.strerror)
