"""What must survive a restart: every check of the last days and the last standing of each integration, in SQLite.

All statements run in one thread of their own, so that a slow disk never holds up the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError

from hub.errors import HistoryError
from hub.state import Standing
from hub.tools import Tool
from hub.wire import Health, HistoryEntry, ProbeResult

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

_schema = sa.MetaData()
_probes = sa.Table(
    "probes",
    _schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("at", sa.Integer, nullable=False, comment="milliseconds since 1970, UTC"),
    sa.Column("ok", sa.Boolean, nullable=False),
    sa.Column("health", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("latency_ms", sa.Float, nullable=False),
    sa.Index("probes_by_name", "name", "at"),
)
_standings = sa.Table(
    "standings",
    _schema,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("saved_at", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)


@dataclass(frozen=True)
class Past:
    """What is remembered of one integration: when it was last checked, its standing then, its checks oldest first."""

    saved_at: datetime
    standing: Standing
    checks: Sequence[tuple[datetime, bool, Health]]


class History:
    """Open with :meth:`open`, end with :meth:`close`. A failed write is logged once and never raised."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine: sa.Engine | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hub-history")
        self._records = 0
        self._failing = False

    async def open(self) -> None:
        """Make the file if need be.

        Raises:
            HistoryError: it can't be made, or it is no database.
        """
        try:
            await self._run(self._open)
        except (SQLAlchemyError, OSError) as error:
            self._thread.shutdown(wait=False)
            cause = getattr(error, "orig", None) or error
            raise HistoryError(
                f"hub.db in OPEN_PERSONA_HOME can't be opened ({cause}). Check the folder's rights and space; "
                "the file holds only the history of checks and may be moved away."
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

    async def entries(self, name: str, limit: int) -> tuple[HistoryEntry, ...]:
        """The last ``limit`` checks, newest first."""
        query = sa.select(_probes).where(_probes.c.name == name).order_by(_probes.c.at.desc()).limit(limit)
        rows = await self._run(lambda: self._fetch(query))
        return tuple(
            HistoryEntry(
                at=_time(row["at"]),
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
            return await self._run(lambda: self._past(_millis(since), names))
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise HistoryError(f"hub.db in OPEN_PERSONA_HOME can't be read: {cause}.") from None

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        engine = sa.create_engine(f"sqlite:///{self._path}", connect_args={"timeout": LOCK_TIMEOUT_S})
        with engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            connection.exec_driver_sql("PRAGMA synchronous=NORMAL")
            _schema.create_all(connection)
        self._engine = engine

    def _connected(self) -> sa.Engine:
        if self._engine is None:
            raise HistoryError("The history is not open.")
        return self._engine

    def _fetch(self, query: sa.Select[tuple[object, ...]]) -> Sequence[sa.RowMapping]:
        with self._connected().connect() as connection:
            return connection.execute(query).mappings().all()

    def _record(self, result: ProbeResult, standing: Standing) -> None:
        body = {"name": result.name, "saved_at": _millis(result.at), "body": dump_standing(standing)}
        row = {
            "name": result.name,
            "at": _millis(result.at),
            "ok": result.ok,
            "health": standing.health,
            "reason": result.reason,
            "latency_ms": result.latency_ms,
        }
        upsert = insert(_standings).values(body)
        with self._connected().begin() as connection:
            connection.execute(sa.insert(_probes), row)
            connection.execute(upsert.on_conflict_do_update(index_elements=["name"], set_=body))
            if self._records % PRUNE_EVERY == 0:
                _prune(connection, result.at)
        self._records += 1

    def _past(self, since: int, names: Collection[str]) -> dict[str, Past]:
        checks: dict[str, list[tuple[datetime, bool, Health]]] = {}
        columns = (_probes.c.name, _probes.c.at, _probes.c.ok, _probes.c.health)
        query = sa.select(*columns).where(_probes.c.name.in_(names), _probes.c.at >= since).order_by(_probes.c.at)
        with self._connected().connect() as connection:
            for name, at, ok, health in connection.execute(query):
                checks.setdefault(name, []).append((_time(at), ok, health))
            rows = connection.execute(sa.select(_standings).where(_standings.c.name.in_(names))).all()
        past = {}
        for name, saved_at, body in rows:
            try:
                past[name] = Past(_time(saved_at), load_standing(body), checks.get(name, ()))
            except ValueError:
                logger.warning("the stored standing of %s can't be read; it starts anew", name)
        return past


def dump_standing(standing: Standing) -> str:
    """A standing as JSON: of the tools just names and fingerprints."""
    tools = None if standing.tools is None else tuple(Tool(tool.name, tool.fingerprint) for tool in standing.tools)
    return _as_json.dump_json(replace(standing, tools=tools, successes=0)).decode()


def load_standing(body: str) -> Standing:
    """The reverse of :func:`dump_standing`.

    Raises:
        ValueError: it was not made by it.
    """
    return _as_json.validate_json(body)


def _prune(connection: sa.Connection, now: datetime) -> None:
    connection.execute(sa.delete(_probes).where(_probes.c.at < _millis(now - KEEP)))
    counts = connection.execute(
        sa.select(_probes.c.name).group_by(_probes.c.name).having(sa.func.count() > MAX_ROWS)
    ).scalars()
    for name in counts.all():
        mine = sa.select(_probes.c.id).where(_probes.c.name == name).order_by(_probes.c.at.desc())
        connection.execute(sa.delete(_probes).where(_probes.c.id.in_(mine.offset(MAX_ROWS).limit(-1))))


def _millis(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def _time(millis: int) -> datetime:
    return datetime.fromtimestamp(millis / 1000, UTC)
