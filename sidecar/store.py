"""What the sidecar must remember across restarts, in one SQLite file: answers of chats, personas of users, token usage.

Methods block for about a millisecond; the event loop calls them through ``asyncio.to_thread``.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import create_engine, delete, event, literal, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from sidecar.errors import SidecarError
from sidecar.migrations import NewerFileError, migrate
from sidecar.store_tables import STEPS
from sidecar.store_tables import answers as _answers
from sidecar.store_tables import forgotten as _forgotten
from sidecar.store_tables import personas as _personas
from sidecar.store_tables import usage as _usage


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
class Tree:
    """The answers of one chat: answer id to answer.

    ``begun_anew``: its memory was deleted once. What it holds is all that may be told of the chat then.
    """

    answers: Mapping[str, Answer]
    begun_anew: bool = False


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
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._engine = _open(path)
        except NewerFileError:
            raise StoreError(
                f"{path} was written by a newer Open Persona. Update, or restore an older backup."
            ) from None
        except (OSError, sqlite3.Error, SQLAlchemyError) as error:
            why = getattr(error, "orig", None) or error
            raise StoreError(f"{path} cannot be opened ({why}). Check the folder, its rights and its space.") from None

    @property
    def engine(self) -> Engine:
        """For what concerns a user as a whole, in ``store_users``."""
        return self._engine

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

    def repeat_answer(self, user: str, chat: str, answer: str, parent: str) -> None:
        """Puts ``answer`` where ``parent`` stands: what follows it follows ``parent``. Nothing for an unknown one."""
        taken = [column.name for column in _answers.c if column.name not in ("answer", "at")]
        query = select(literal(answer), literal(time.time()), *(_answers.c[name] for name in taken)).where(
            _answers.c.user == user, _answers.c.chat == chat, _answers.c.answer == parent
        )
        with self._engine.begin() as connection:
            connection.execute(insert(_answers).from_select(["answer", "at", *taken], query).on_conflict_do_nothing())

    def tree(self, user: str, chat: str) -> Tree:
        """The answers of one chat of one user."""
        query = select(_answers).where(_answers.c.user == user, _answers.c.chat == chat)
        mark = select(_forgotten.c.at).where(_forgotten.c.user == user, _forgotten.c.chat == chat)
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
            begun_anew = connection.execute(mark).first() is not None
        fields = Answer.__dataclass_fields__
        return Tree({row["answer"]: Answer(**{key: row[key] for key in fields}) for row in rows}, begun_anew)

    def answers(self, user: str, chat: str) -> Mapping[str, Answer]:
        """The answers of one chat of one user: answer id to answer."""
        return self.tree(user, chat).answers

    def forget_chat(self, user: str, chat: str) -> frozenset[str]:
        """Removes the chat's answers, marks it as begun anew, and returns the sessions that they were given in."""
        mine = (_answers.c.user == user, _answers.c.chat == chat)
        mark = insert(_forgotten).values(user=user, chat=chat, at=time.time())
        with self._engine.begin() as connection:
            found = connection.execute(select(_answers.c.session).where(*mine, _answers.c.session != "")).scalars()
            sessions = frozenset(found)
            connection.execute(delete(_answers).where(*mine))
            connection.execute(mark.on_conflict_do_update(index_elements=["user", "chat"], set_={"at": time.time()}))
        return sessions

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
    migrate(path, STEPS)
    path.chmod(0o600)
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 10})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: object, _record: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    with engine.connect():
        return engine
