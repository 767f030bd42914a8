"""Lines from standard input without a thread, so that Ctrl-C ends the wait at once."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator

CHUNK = 65536


async def typed_lines(prompt: str) -> AsyncGenerator[str, None]:
    """What comes in on standard input, line by line, to its end; the prompt only where somebody sees it."""
    descriptor = sys.stdin.fileno()
    shown = prompt if sys.stdin.isatty() else ""
    rest = b""
    while True:
        if b"\n" not in rest:
            print(shown, end="", flush=True)
        while b"\n" not in rest:
            await _readable(descriptor)
            piece = os.read(descriptor, CHUNK)
            if not piece:
                if rest:
                    yield rest.decode(errors="replace")
                return
            rest += piece
        line, _, rest = rest.partition(b"\n")
        yield line.decode(errors="replace").rstrip("\r")


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:  # a regular file: always readable, and nothing that epoll takes
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
