"""What must survive a restart, in SQLite: every check of the last days, the last standing of each integration, and the
tools that were approved.

All statements run in one thread of their own, so that a slow disk never holds up the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError

from hub.errors import HistoryError
from hub.history_tables import STEPS, millis, probes, standings, time_of
from hub.kept_tools import Shown, add_change, keep, read_changes, recalled, shown_by
from hub.migrations import NewerFileError, migrate
from hub.state import Standing
from hub.tools import Tool
from hub.wire import ChangeEntry, Health, HistoryEntry, ProbeResult

logger = logging.getLogger(__name__)
T = TypeVar("T")
_as_json = TypeAdapter(Standing)

KEEP = timedelta(hours=48)
MAX_ROWS = 20_000
"""Checks kept of one integration, whatever its interval."""

LOCK_TIMEOUT_S = 5.0
"""How long a write waits for another process that holds the file."""

WRITE_TIMEOUT_S = 2.0
"""How long a check waits to be stored; after that it is dropped, so that a stuck disk stalls no monitor."""

PRUNE_EVERY = 500
"""Records between two clean-ups."""

Check = tuple[datetime, bool, Health, float]
"""When, whether it was good, the health after it, milliseconds."""


@dataclass(frozen=True)
class Past:
    """What is remembered of one integration: when it was last checked, its standing then, its checks oldest first."""

    saved_at: datetime
    standing: Standing
    checks: Sequence[Check]


class History:
    """Open with :meth:`open`, end with :meth:`close`. A failed write is logged once and never raised."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine: sa.Engine | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hub-history")
        self._records = 0
        self._failing = False
        self._kept: dict[str, Shown] = {}

    async def open(self) -> None:
        """Make the file if need be.

        Raises:
            HistoryError: it can't be made, it is no database, or a newer version wrote it.
        """
        try:
            await self._run(self._open)
        except NewerFileError:
            self._thread.shutdown(wait=False)
            raise HistoryError(
                "hub.db in OPEN_PERSONA_HOME was written by a newer Open Persona. Update, or restore an older backup."
            ) from None
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            self._thread.shutdown(wait=False)
            cause = getattr(error, "orig", None) or error
            raise HistoryError(
                f"hub.db in OPEN_PERSONA_HOME can't be opened ({cause}). Check the folder's rights and space; "
                "the file holds the history of checks and which tools are approved; it may be moved away, and then "
                "all tools count as approved that are listed next."
            ) from None

    async def close(self) -> None:
        """Wait for the last write and close the file."""
        if self._engine is not None:
            await self._run(self._engine.dispose)
        self._thread.shutdown(wait=True)

    async def record(self, result: ProbeResult, standing: Standing) -> None:
        """Store one check and the standing after it."""
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._run(lambda: self._record(result, standing))
            self._failing = False
        except (SQLAlchemyError, TimeoutError) as error:
            if not self._failing:
                cause = getattr(error, "orig", None) or str(error) or "the disk does not answer"
                logger.error("checks are not being stored: %s", cause)
            self._failing = True

    async def approve(self, name: str, standing: Standing, entry: ChangeEntry) -> None:
        """Store what is accepted now, and that it was approved.

        Raises:
            HistoryError: it could not be stored.
        """
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._run(lambda: self._approve(name, standing, entry))
        except (SQLAlchemyError, TimeoutError) as error:
            cause = getattr(error, "orig", None) or str(error) or "the disk does not answer"
            raise HistoryError(f"hub.db in OPEN_PERSONA_HOME takes no approval: {cause}.") from None

    async def changes(self, name: str, limit: int) -> tuple[ChangeEntry, ...]:
        """The last ``limit`` changes of its tools, newest first."""
        return await self._run(lambda: self._changes(name, limit))

    async def entries(self, name: str, limit: int) -> tuple[HistoryEntry, ...]:
        """The last ``limit`` checks, newest first."""
        query = sa.select(probes).where(probes.c.name == name).order_by(probes.c.at.desc()).limit(limit)
        rows = await self._run(lambda: self._fetch(query))
        return tuple(
            HistoryEntry(
                at=time_of(row["at"]),
                ok=row["ok"],
                health=row["health"],
                reason=row["reason"],
                latency_ms=row["latency_ms"],
            )
            for row in rows
        )

    async def past(self, since: datetime, names: Collection[str]) -> dict[str, Past]:
        """What is stored of these integrations: standings, and checks since ``since``.

        Raises:
            HistoryError: it can't be read.
        """
        try:
            return await self._run(lambda: self._past(millis(since), names))
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise HistoryError(f"hub.db in OPEN_PERSONA_HOME can't be read: {cause}.") from None

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        migrate(self._path, STEPS)
        engine = sa.create_engine(f"sqlite:///{self._path}", connect_args={"timeout": LOCK_TIMEOUT_S})
        with engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            connection.exec_driver_sql("PRAGMA synchronous=NORMAL")
        self._engine = engine

    def _connected(self) -> sa.Engine:
        if self._engine is None:
            raise HistoryError("The history is not open.")
        return self._engine

    def _fetch(self, query: sa.Select[tuple[object, ...]]) -> Sequence[sa.RowMapping]:
        with self._connected().connect() as connection:
            return connection.execute(query).mappings().all()

    def _record(self, result: ProbeResult, standing: Standing) -> None:
        body = {"name": result.name, "saved_at": millis(result.at), "body": dump_standing(standing)}
        row = {
            "name": result.name,
            "at": millis(result.at),
            "ok": result.ok,
            "health": standing.health,
            "reason": result.reason,
            "latency_ms": result.latency_ms,
        }
        upsert = insert(standings).values(body)
        with self._connected().begin() as connection:
            connection.execute(sa.insert(probes), row)
            connection.execute(upsert.on_conflict_do_update(index_elements=["name"], set_=body))
            if standing.change and standing.tools_changed_at == result.at:
                add_change(connection, result.name, ChangeEntry(at=result.at, kind="changed", tools=standing.change))
            if (shown := shown_by(standing)) != self._kept.get(result.name):
                keep(connection, result.name, standing)
            if self._records % PRUNE_EVERY == 0:
                _prune(connection, result.at)
        self._kept[result.name] = shown
        self._records += 1

    def _approve(self, name: str, standing: Standing, entry: ChangeEntry) -> None:
        with self._connected().begin() as connection:
            keep(connection, name, standing)
            add_change(connection, name, entry)
        self._kept.pop(name, None)

    def _changes(self, name: str, limit: int) -> tuple[ChangeEntry, ...]:
        with self._connected().connect() as connection:
            return read_changes(connection, name, limit)

    def _past(self, since: int, names: Collection[str]) -> dict[str, Past]:
        checks: dict[str, list[Check]] = {}
        columns = (probes.c.name, probes.c.at, probes.c.ok, probes.c.health, probes.c.latency_ms)
        query = sa.select(*columns).where(probes.c.name.in_(names), probes.c.at >= since).order_by(probes.c.at)
        with self._connected().connect() as connection:
            for name, at, ok, health, latency_ms in connection.execute(query):
                checks.setdefault(name, []).append((time_of(at), ok, health, latency_ms))
            rows = connection.execute(sa.select(standings).where(standings.c.name.in_(names))).all()
            past = {}
            for name, saved_at, body in rows:
                standing = recalled(connection, name, _readable(name, body))
                past[name] = Past(time_of(saved_at), standing, checks.get(name, ()))
        return past


def dump_standing(standing: Standing) -> str:
    """A standing as JSON: of the tools just names and fingerprints, the rest of them is kept apart."""
    tools = None if standing.tools is None else tuple(Tool(tool.name, tool.fingerprint) for tool in standing.tools)
    return _as_json.dump_json(replace(standing, tools=tools, approved=None, change=(), successes=0)).decode()


def load_standing(body: str) -> Standing:
    """The reverse of :func:`dump_standing`.

    Raises:
        ValueError: it was not made by it.
    """
    return _as_json.validate_json(body)


def _readable(name: str, body: str) -> Standing:
    try:
        return load_standing(body)
    except ValueError:
        logger.warning("the stored standing of %s can't be read; it starts anew", name)
        return Standing()


def _prune(connection: sa.Connection, now: datetime) -> None:
    connection.execute(sa.delete(probes).where(probes.c.at < millis(now - KEEP)))
    counts = connection.execute(
        sa.select(probes.c.name).group_by(probes.c.name).having(sa.func.count() > MAX_ROWS)
    ).scalars()
    for name in counts.all():
        mine = sa.select(probes.c.id).where(probes.c.name == name).order_by(probes.c.at.desc())
        connection.execute(sa.delete(probes).where(probes.c.id.in_(mine.offset(MAX_ROWS).limit(-1))))
