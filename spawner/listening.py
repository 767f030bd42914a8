"""The spawner's own socket: for its own user and group, and never in the place of one that is in use."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

from spawner.errors import SocketError

MODE: Final = 0o660
BACKLOG: Final = 64


def listen(path: Path) -> socket.socket:
    """A listening unix socket; one that a spawner left behind is replaced. Raises ``SocketError``."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            _remove_stale(path)
        # Made without any right for others: between bind and chmod anybody could connect.
        before = os.umask(0o777)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        path.chmod(MODE)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except (OSError, SocketError) as error:
        listener.close()
        if isinstance(error, SocketError):
            raise
        raise SocketError(f"OPEN_PERSONA_SPAWNER_SOCKET: {path} can't be made: {error.strerror or error}.") from None
    return listener


def _remove_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise SocketError(f"OPEN_PERSONA_SPAWNER_SOCKET: another spawner listens on {path}.")
