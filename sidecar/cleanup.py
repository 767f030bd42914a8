"""Clean-up that happens even when the turn is being cancelled, and never takes long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TypeVar

log = logging.getLogger(__name__)
CLEANUP_S = 10.0
Result = TypeVar("Result")


async def finish_or_undo(
    work: Coroutine[object, object, Result], undo: Callable[[Result], Coroutine[object, object, None]]
) -> Result:
    """Awaits ``work``; when cancelled meanwhile, lets it end and undoes it, so that nothing is left behind."""
    task = asyncio.ensure_future(work)

    async def end_and_undo() -> None:
        await undo(await task)

    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await bounded(end_and_undo())
        raise


async def bounded(work: Coroutine[object, object, None]) -> None:
    """Runs clean-up to its end within ``CLEANUP_S`` even when the turn is being cancelled; its failure is logged."""
    task = asyncio.ensure_future(asyncio.wait_for(work, CLEANUP_S))
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if not task.cancelled() and (error := task.exception()):
        log.warning("clean-up after a turn failed: %s", getattr(error, "detail", type(error).__name__))
    if cancelled:
        raise asyncio.CancelledError
