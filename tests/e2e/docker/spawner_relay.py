"""A way to Docker on which somebody acts in the one moment that counts: just before a start, and just after."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

START = re.compile(rb"POST /(?:v1\.[0-9]+/)?containers/[0-9a-f]{64}/start ")


@contextlib.contextmanager
def relay(path: Path, docker: str, before: Callable[[], object], after: Callable[[], object]) -> Iterator[None]:
    """Passes everything on; ``before`` is called when a start arrives, ``after`` once Docker has answered it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(16)
    threading.Thread(target=_accept, args=(listener, docker, before, after), daemon=True).start()
    try:
        yield
    finally:
        listener.close()


def _accept(listener: socket.socket, docker: str, before: Callable[[], object], after: Callable[[], object]) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=(client, docker, before, after), daemon=True).start()


def _serve(client: socket.socket, docker: str, before: Callable[[], object], after: Callable[[], object]) -> None:
    starting = threading.Event()
    with client, socket.socket(socket.AF_UNIX) as engine, contextlib.suppress(OSError):
        engine.connect(docker)

        def back() -> None:
            with contextlib.suppress(OSError):
                while piece := engine.recv(65536):
                    if starting.is_set():
                        starting.clear()
                        after()
                    client.sendall(piece)
                client.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=back, daemon=True).start()
        while piece := client.recv(65536):
            if START.match(piece):
                before()
                starting.set()
            engine.sendall(piece)
        engine.shutdown(socket.SHUT_RDWR)
