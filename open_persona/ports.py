"""Loopback ports: which are free, and who holds one that is not."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

_LISTEN = "0A"
"""State of a listening socket in ``/proc/net/tcp`` (Linux, ``include/net/tcp_states.h``)."""


def is_taken(host: str, port: int) -> bool:
    """Whether a server could not listen there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def free_ports(count: int) -> list[int]:
    """That many different ports of 127.0.0.1 that nobody listens on now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def holder_of(port: int) -> str:
    """``program (pid N)`` of the listener, as far as this user may see it; empty where unknown."""
    inodes = set(_listening_inodes(port))
    if not inodes:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(_inode(link) in inodes for link in (process / "fd").iterdir()):
                return f"{_program(process)} (pid {process.name})"
    return ""


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                    yield columns[9]


def _inode(link: Path) -> str:
    try:
        target = str(link.readlink())
    except OSError:
        return ""
    return target.removeprefix("socket:[").removesuffix("]") if target.startswith("socket:[") else ""


def _program(process: Path) -> str:
    """Name and first arguments of a process; the rest could hold what is not ours to show."""
    words = [word.decode(errors="replace") for word in (process / "cmdline").read_bytes().split(b"\0") if word]
    shown = [Path(words[0]).name] if words else ["a process"]
    if "-m" in words[:-1]:
        shown += ["-m", words[words.index("-m") + 1]]
    return " ".join(shown)
