"""A bounded wait for a condition that no event tells of, such as another process's end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def eventually(condition: Callable[[], bool], *, within_s: float = 15.0, what: str = "") -> None:
    """Return as soon as ``condition`` holds; fail after ``within_s`` seconds."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {within_s} s: {what or condition}") from None
