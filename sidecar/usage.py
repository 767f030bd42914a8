"""Who used how much: the tokens of ended turns, per day, user, persona and model.

Counted is what passed the broker. The rows are written a moment after a turn's end by a task of their own, so that no
turn waits for the disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from sidecar.store import Store, UsageKey, UsageRow
from sidecar.turns import RunningTurn

log = logging.getLogger(__name__)
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


def usage_of(turn: RunningTurn, day: str) -> UsageRow:
    """What an ended turn used; it names one model."""
    provider, _, model = min(turn.models).partition("/")
    key = UsageKey(day, turn.user_hash, turn.persona_id, provider, model)
    return UsageRow(key, turn.note.calls, turn.note.input_tokens, turn.note.output_tokens)


class UsageBook:
    """Between ``start`` and ``aclose`` it writes what ``note`` was told."""

    def __init__(self, store: Store, clock: Clock = utc_now) -> None:
        self._store = store
        self._clock = clock
        self._pending: dict[UsageKey, UsageRow] = {}
        self._writing = asyncio.Lock()
        self._told = asyncio.Event()
        self._closing = False
        self._writer: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._writer = asyncio.create_task(self._write())

    async def aclose(self) -> None:
        """Returns when everything noted is written, or cannot be."""
        self._closing = True
        self._told.set()
        if self._writer is not None:
            await self._writer
        await self._flush()

    def note(self, turn: RunningTurn) -> None:
        """Counts an ended turn that called a model. Never waits, never fails."""
        if turn.note.calls:
            self._add(usage_of(turn, self._clock().date().isoformat()))
            self._told.set()

    async def rows(self, days: int) -> list[UsageRow]:
        """The last ``days`` days in UTC, today included, the latest first."""
        await self.written()
        since = self._clock().date() - timedelta(days=days - 1)
        return await asyncio.to_thread(self._store.usage, since.isoformat())

    async def written(self) -> None:
        """Returns when what was noted so far is written, or cannot be."""
        await asyncio.shield(asyncio.ensure_future(self._flush()))

    def _add(self, row: UsageRow) -> None:
        held = self._pending.get(row.key)
        self._pending[row.key] = held.plus(row) if held else row

    async def _write(self) -> None:
        while not self._closing:
            await self._told.wait()
            self._told.clear()
            await self._flush()

    async def _flush(self) -> None:
        """Writes what is pending; what cannot be written stays pending."""
        async with self._writing:
            rows, self._pending = list(self._pending.values()), {}
            if not rows:
                return
            try:
                await asyncio.to_thread(self._store.add_usage, rows)
            except SQLAlchemyError as error:
                log.warning("token usage was not written: %s", type(error).__name__)
                for row in rows:
                    self._add(row)
