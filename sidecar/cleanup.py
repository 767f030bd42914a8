"""Work that must not be left half done, whatever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TypeVar

log = logging.getLogger(__name__)
CLEANUP_S = 10.0
Result = TypeVar("Result")
Work = Coroutine[object, object, Result]


async def complete(work: Work[Result]) -> Result:
    """Runs ``work`` to its end even when the caller is cancelled, which is then cancelled afterwards.

    ``work`` has to have a deadline of its own.
    """
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        if not task.cancelled():
            task.exception()  # it was asked for, so that nobody warns of an error that nobody saw
        raise asyncio.CancelledError
    return task.result()


async def finish_or_undo(work: Work[Result], undo: Callable[[Result], Work[None]]) -> Result:
    """Awaits ``work``; when cancelled meanwhile, lets it end and undoes it, so that nothing is left behind."""
    task = asyncio.ensure_future(work)

    async def end_and_undo() -> None:
        await undo(await task)

    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await bounded(end_and_undo())
        raise


async def bounded(work: Work[None]) -> None:
    """Runs clean-up to its end within ``CLEANUP_S`` even when the turn is being cancelled; its failure is logged."""

    async def logged() -> None:
        try:
            await asyncio.wait_for(work, CLEANUP_S)
        except Exception as error:  # noqa: BLE001 - the turn is over; nobody else can act on it
            log.warning("clean-up after a turn failed: %s", getattr(error, "detail", "") or type(error).__name__)

    await complete(logged())
