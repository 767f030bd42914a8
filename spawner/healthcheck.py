"""Asking the spawner that runs, and Docker through it. The standard library alone: it is started every few seconds."""

from __future__ import annotations

import http.client
import os
import socket
import sys
from typing import Final

SOCKET_ENV: Final = "OPEN_PERSONA_SPAWNER_SOCKET"
DEFAULT_SOCKET: Final = "/run/open-persona/docker.sock"
HEALTH_S: Final = 5.0


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=HEALTH_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(HEALTH_S)
        self.sock.connect(self._path)


def healthcheck() -> int:
    """0 where the spawner and Docker answer, else 1 with one line that says what does not."""
    connection = _Connection(os.environ.get(SOCKET_ENV) or DEFAULT_SOCKET)
    try:
        connection.request("GET", "/_ping")
        answer = connection.getresponse()
        told = "" if answer.status == 200 else answer.read(1000).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        told = f"the spawner does not answer ({type(error).__name__})"
    finally:
        connection.close()
    if told:
        sys.stderr.write(f"spawner: {told}\n")
    return 1 if told else 0
