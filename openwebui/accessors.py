"""Calling Open WebUI's accessors, which were functions that answer at once and are coroutines since 0.9."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import TypeVar

_T = TypeVar("_T")


async def got(answer: Awaitable[_T] | _T) -> _T:
    """The answer of an accessor of either kind."""
    return await answer if inspect.isawaitable(answer) else answer
