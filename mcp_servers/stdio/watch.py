"""Ends process groups once whoever holds this program's standard input is gone, however that ended.

Run as ``python -I -S watch.py``. A line ``+123`` puts group 123 under watch, ``-123`` lets it go. Standard library
alone, so that it starts in a few milliseconds.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin.buffer:
        sign, group = line[:1], int(line[1:])
        if sign == b"+":
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
