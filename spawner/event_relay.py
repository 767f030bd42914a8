"""Docker's event stream, cut down to the containers that are ours: line by line, as fast as the caller reads."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

import aiohttp

from spawner.answers import event_is_ours
from spawner.calls import Asked
from spawner.engine import Engine
from spawner.errors import EngineError
from spawner.queries import narrowed

log = logging.getLogger("spawner")
MAX_LINE: Final = 65_536


async def relay(engine: Engine, asked: Asked, label: str, deployment: str) -> AsyncGenerator[bytes, None]:
    """First an empty piece, once Docker has agreed; then each event as one line of JSON.

    Raises ``EngineError`` where Docker refuses, ends oddly or writes a line that is too long.
    """
    query = {**asked.query, "filters": narrowed(asked.query.get("filters"), label)}
    async with engine.stream("GET", asked.path(), query=query) as response:
        if response.status != 200:
            raise EngineError(f"Docker gives no events (status {response.status}).")
        yield b""
        async for line in _lines(response.content):
            if event_is_ours(json.loads(line), deployment):
                yield line + b"\n"


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    kept = b""
    async for piece in content.iter_any():
        *whole, kept = (kept + piece).split(b"\n")
        for line in whole:
            if line.strip():
                yield line
        if len(kept) > MAX_LINE:
            raise EngineError("Docker wrote an event that is too long.")
