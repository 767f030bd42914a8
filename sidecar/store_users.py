"""What the store holds of one user: to be shown, handed over and removed as a whole."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import delete, func, select
from sqlalchemy.engine import Engine

from sidecar.store_tables import answers, forgotten, metadata, personas, usage

Row = Mapping[str, object]


def last_used(engine: Engine) -> dict[str, float]:
    """Everybody with a row, and when they were last noted, in seconds since 1970. A day of usage counts to its end."""
    found: dict[str, float] = {}
    with engine.connect() as connection:
        for table in (answers, personas, forgotten):
            for user, at in connection.execute(select(table.c.user, func.max(table.c.at)).group_by(table.c.user)):
                found[user] = max(found.get(user, 0.0), at)
        for user, day in connection.execute(select(usage.c.user, func.max(usage.c.day)).group_by(usage.c.user)):
            found[user] = max(found.get(user, 0.0), _end_of(day))
    return found


def tokens(engine: Engine) -> dict[str, Row]:
    """User to ``calls``, ``input_tokens`` and ``output_tokens`` of all days."""
    names = ("calls", "input_tokens", "output_tokens")
    query = select(usage.c.user, *(func.sum(usage.c[name]).label(name) for name in names)).group_by(usage.c.user)
    with engine.connect() as connection:
        return {row["user"]: {name: row[name] for name in names} for row in connection.execute(query).mappings()}


def rows_of(engine: Engine, user: str) -> dict[str, list[Row]]:
    """Table to the rows of this user."""
    with engine.connect() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table).where(table.c.user == user)).mappings()]
            for table in metadata.sorted_tables
        }


def remove_rows(engine: Engine, path: Path, user: str) -> None:
    """Removes this user's rows, all or none, and those in the copies that an update has left beside the file."""
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            connection.execute(delete(table).where(table.c.user == user))
    for copy in path.parent.glob(f"{path.name}.v*"):
        _remove_from_copy(copy, user)


def _remove_from_copy(copy: Path, user: str) -> None:
    with contextlib.closing(sqlite3.connect(copy, timeout=10)) as connection, connection:
        for table in metadata.sorted_tables:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table.name,)).fetchone():
                connection.execute(f'DELETE FROM "{table.name}" WHERE "user" = ?', (user,))  # noqa: S608 - our names


def _end_of(day: str) -> float:
    try:
        return (datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)).timestamp()
    except ValueError:
        return 0.0
