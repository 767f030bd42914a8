"""Files that are larger than what they hold: read to their end they would fill a disk, or take days."""

from __future__ import annotations

import os
from typing import Final

MOST: Final = 2**30


def refuse_holes(file: int) -> None:
    """Raises ``OSError`` where more than ``MOST`` bytes of an open file are holes. Its place is the beginning then."""
    size = os.fstat(file).st_size
    if size > MOST and size - _written(file, size) > MOST:
        raise OSError("has holes that are larger than what it holds")


def _written(file: int, size: int) -> int:
    total = at = 0
    while at < size:
        try:
            begin = os.lseek(file, at, os.SEEK_DATA)
        except OSError:  # nothing but a hole is left
            break
        at = os.lseek(file, begin, os.SEEK_HOLE)
        total += at - begin
    os.lseek(file, 0, os.SEEK_SET)
    return total
