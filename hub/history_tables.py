"""The tables of ``hub.db``, and how a file of each earlier version gets them.

A step stays as it is once it was released: files of its version are out there. The tables are those after the last.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from hub.migrations import Migration

schema = sa.MetaData()

probes = sa.Table(
    "probes",
    schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("at", sa.Integer, nullable=False, comment="milliseconds since 1970, UTC"),
    sa.Column("ok", sa.Boolean, nullable=False),
    sa.Column("health", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("latency_ms", sa.Float, nullable=False),
    sa.Index("probes_by_name", "name", "at"),
)
standings = sa.Table(
    "standings",
    schema,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("saved_at", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
approvals = sa.Table(
    "approvals",
    schema,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False, comment="JSON: tool to fingerprint, as last accepted"),
)
definitions = sa.Table(
    "definitions",
    schema,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False, comment="JSON of what a model sees of one tool"),
)
changes = sa.Table(
    "changes",
    schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("at", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False, comment="changed or approved"),
    sa.Column("body", sa.Text, nullable=False, comment="JSON: how each tool differs"),
    sa.Index("changes_by_name", "name", "id"),
)


def _first(connection: sqlite3.Connection) -> None:
    """``IF NOT EXISTS``: the first releases wrote no version number, and the earliest had just two of the tables."""
    for statement in (
        """CREATE TABLE IF NOT EXISTS probes (
            id INTEGER NOT NULL, name TEXT NOT NULL, at INTEGER NOT NULL, ok BOOLEAN NOT NULL, health TEXT NOT NULL,
            reason TEXT, latency_ms FLOAT NOT NULL,
            PRIMARY KEY (id))""",
        "CREATE INDEX IF NOT EXISTS probes_by_name ON probes (name, at)",
        """CREATE TABLE IF NOT EXISTS standings (
            name TEXT NOT NULL, saved_at INTEGER NOT NULL, body TEXT NOT NULL,
            PRIMARY KEY (name))""",
        """CREATE TABLE IF NOT EXISTS approvals (
            name TEXT NOT NULL, body TEXT NOT NULL,
            PRIMARY KEY (name))""",
        """CREATE TABLE IF NOT EXISTS definitions (
            name TEXT NOT NULL, fingerprint TEXT NOT NULL, body TEXT NOT NULL,
            PRIMARY KEY (name, fingerprint))""",
        """CREATE TABLE IF NOT EXISTS changes (
            id INTEGER NOT NULL, name TEXT NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
            PRIMARY KEY (id))""",
        "CREATE INDEX IF NOT EXISTS changes_by_name ON changes (name, id)",
    ):
        connection.execute(statement)


STEPS: Final[tuple[Migration, ...]] = (_first,)


def millis(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def time_of(stored: int) -> datetime:
    return datetime.fromtimestamp(stored / 1000, UTC)
