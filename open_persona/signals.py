"""Running a command's coroutine so that Ctrl-C, SIGTERM and a closed terminal end it in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_until_stopped(main: Coroutine[None, None, int]) -> int:
    """The coroutine's exit code, or 130 when a signal ended it first; its ``finally`` parts have run by then."""
    try:
        return asyncio.run(_guarded(main))
    except asyncio.CancelledError:
        return 130


async def _guarded(main: Coroutine[None, None, int]) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, task.cancel)
    try:
        return await main
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
