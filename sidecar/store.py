"""What the sidecar must remember across restarts, in one SQLite file: answers of chats, personas of users, token usage.

Methods block for about a millisecond; the event loop calls them through ``asyncio.to_thread``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Column, Float, Integer, MetaData, String, Table, create_engine, event, select, text
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from sidecar.errors import SidecarError

SCHEMA_VERSION = 2
"""1: answers and personas. 2: usage, too; a file of version 1 gets the table and keeps its rows."""
_metadata = MetaData()
_answers = Table(
    "answers",
    _metadata,
    Column("user", String, primary_key=True),
    Column("chat", String, primary_key=True),
    Column("answer", String, primary_key=True),
    Column("parent", String, nullable=False),
    Column("persona", String, nullable=False),
    Column("session", String, nullable=False),
    Column("message", String, nullable=False),
    Column("at", Float, nullable=False),
)
_personas = Table(
    "personas",
    _metadata,
    Column("user", String, primary_key=True),
    Column("persona", String, primary_key=True),
    Column("model", String, nullable=False),
    Column("picked", String, nullable=False),
    Column("meta", String, nullable=False),
    Column("at", Float, nullable=False),
)
_usage = Table(
    "usage",
    _metadata,
    Column("day", String, primary_key=True),
    Column("user", String, primary_key=True),
    Column("persona", String, primary_key=True),
    Column("provider", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("calls", Integer, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
)


class StoreError(SidecarError):
    """The file was written by a newer version, or cannot be opened."""


@dataclass(frozen=True)
class Answer:
    """One answer of a chat: ``parent`` is the answer that its user message followed ("" at the start).

    ``session`` and ``message`` are opencode's, empty for a persona without memory.
    """

    user: str
    chat: str
    answer: str
    parent: str
    persona: str
    session: str = ""
    message: str = ""


@dataclass(frozen=True)
class KnownPersona:
    """A persona that a user has used: the base model, the Model that was picked, and its meta as JSON."""

    persona: str
    model: str
    picked: str
    meta: str


class UsageKey(NamedTuple):
    """``day`` is a date in UTC as ``YYYY-MM-DD``; ``user`` is the user's hash."""

    day: str
    user: str
    persona: str
    provider: str
    model: str


@dataclass(frozen=True)
class UsageRow:
    """The model calls of one user with one persona and model on one day, and their tokens."""

    key: UsageKey
    calls: int
    input_tokens: int
    output_tokens: int

    def plus(self, other: UsageRow) -> UsageRow:
        calls, tokens = self.calls + other.calls, self.input_tokens + other.input_tokens
        return UsageRow(self.key, calls, tokens, self.output_tokens + other.output_tokens)


class Store:
    """``path`` is made when it is missing. Raises ``StoreError``."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._engine = _open(path)
        except (OSError, SQLAlchemyError) as error:
            why = getattr(error, "orig", None) or error
            raise StoreError(f"{path} cannot be opened ({why}). Check the folder and its rights.") from None

    def close(self) -> None:
        self._engine.dispose()

    def remember_answer(self, answer: Answer) -> None:
        """Adds the answer, or replaces what was known of it."""
        values = {**vars(answer), "at": time.time()}
        with self._engine.begin() as connection:
            statement = insert(_answers).values(values)
            connection.execute(statement.on_conflict_do_update(index_elements=["user", "chat", "answer"], set_=values))

    def note_answer(self, answer: Answer) -> None:
        """Adds an answer that has only begun; what is known of it already stays."""
        with self._engine.begin() as connection:
            values = {**vars(answer), "at": time.time()}
            connection.execute(insert(_answers).values(values).on_conflict_do_nothing())

    def sessions(self, user: str) -> frozenset[str]:
        """The opencode sessions that answers of this user were given in."""
        query = select(_answers.c.session).where(_answers.c.user == user, _answers.c.session != "").distinct()
        with self._engine.connect() as connection:
            return frozenset(connection.execute(query).scalars())

    def answers(self, user: str, chat: str) -> dict[str, Answer]:
        """The tree of one chat of one user: answer id to answer."""
        query = select(_answers).where(_answers.c.user == user, _answers.c.chat == chat)
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return {row["answer"]: Answer(**{key: row[key] for key in Answer.__dataclass_fields__}) for row in rows}

    def remember_persona(self, user: str, known: KnownPersona) -> None:
        values = {**vars(known), "user": user, "at": time.time()}
        with self._engine.begin() as connection:
            statement = insert(_personas).values(values)
            connection.execute(statement.on_conflict_do_update(index_elements=["user", "persona"], set_=values))

    def personas(self, user: str, limit: int) -> list[KnownPersona]:
        """What this user has used, the latest change first."""
        query = select(_personas).where(_personas.c.user == user).order_by(_personas.c.at.desc()).limit(limit)
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [KnownPersona(**{key: row[key] for key in KnownPersona.__dataclass_fields__}) for row in rows]

    def add_usage(self, rows: Iterable[UsageRow]) -> None:
        """Adds to what was counted before, all rows or none."""
        counts = ("calls", "input_tokens", "output_tokens")
        with self._engine.begin() as connection:
            for row in rows:
                counted = {name: getattr(row, name) for name in counts}
                statement = insert(_usage).values({**row.key._asdict(), **counted})
                sums = {name: _usage.c[name] + statement.excluded[name] for name in counts}
                connection.execute(statement.on_conflict_do_update(index_elements=list(UsageKey._fields), set_=sums))

    def usage(self, since: str) -> list[UsageRow]:
        """The rows of that day and later ones, the latest day first."""
        query = select(_usage).where(_usage.c.day >= since)
        query = query.order_by(_usage.c.day.desc(), *(_usage.c[name] for name in UsageKey._fields[1:]))
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [UsageRow(UsageKey(*row[:5]), *row[5:]) for row in rows]


def _open(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 10})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: object, _record: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    with engine.begin() as connection:
        version = int(connection.execute(text("PRAGMA user_version")).scalar_one())
        if version > SCHEMA_VERSION:
            raise StoreError(f"{path} was written by a newer Open Persona. Update, or restore an older backup.")
        _metadata.create_all(connection)
        connection.execute(text(f"PRAGMA user_version = {SCHEMA_VERSION}"))
    path.chmod(0o600)
    return engine
