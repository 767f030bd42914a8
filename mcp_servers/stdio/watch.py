"""Ends process groups once whoever holds this program's standard input is gone, however that ended.

Run as ``python -I -S watch.py``. A line ``+123 /a/folder`` puts group 123 and its folder under watch, ``-123`` lets
them go. Standard library alone, so that it starts in a few milliseconds.
"""

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

ROUNDS = 3
"""A process may start another while the list is read."""


def end_all_of(folder: str) -> None:
    """Kill what was started with ``folder`` as its home and has left the group, as browsers do (Linux alone)."""
    marks = {f"{name}={folder}".encode() for name in ("HOME", "TMPDIR")}
    for _ in range(ROUNDS):
        if not (found := [pid for pid in _pids() if marks & _environment(pid)]):
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    try:
        names = [entry.name for entry in Path("/proc").iterdir()]
    except OSError:
        return []
    return [int(name) for name in names if name.isdigit()]


def _environment(pid: int) -> set[bytes]:
    try:
        return set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return set()


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    held: dict[int, str] = {}
    for line in sys.stdin:
        group, _, folder = line[1:].strip().partition(" ")
        if line.startswith("+"):
            held[int(group)] = folder
        else:
            held.pop(int(group), None)
    for pid in held:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    for folder in held.values():
        end_all_of(folder)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
