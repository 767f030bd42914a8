"""The tables of ``hub.db``. A file of an earlier version lacks some; they are made when it is opened."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

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


def millis(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def time_of(stored: int) -> datetime:
    return datetime.fromtimestamp(stored / 1000, UTC)
