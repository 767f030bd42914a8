"""Ends process groups once whoever holds this program's standard input is gone, however that ended.

Run as ``python -I -S watch.py``. A line ``+123 /a/folder`` puts group 123 and its folder under watch, ``-123`` lets
them go. Standard library alone, so that it starts in a few milliseconds.
"""

import contextlib
import os
import shutil
import signal
import sys


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
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
