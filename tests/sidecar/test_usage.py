"""Token usage: what ended turns add up to, and that it is on the disk when the book is closed."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy.exc import OperationalError

from sidecar.store import Answer, KnownPersona, Store, UsageKey, UsageRow
from sidecar.store_tables import STEPS
from sidecar.turns import RunningTurn, TurnRegistry
from sidecar.usage import UsageBook

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST_VERSION = """
CREATE TABLE answers (user VARCHAR NOT NULL, chat VARCHAR NOT NULL, answer VARCHAR NOT NULL, parent VARCHAR NOT NULL,
  persona VARCHAR NOT NULL, session VARCHAR NOT NULL, message VARCHAR NOT NULL, at FLOAT NOT NULL,
  PRIMARY KEY (user, chat, answer));
CREATE TABLE personas (user VARCHAR NOT NULL, persona VARCHAR NOT NULL, model VARCHAR NOT NULL, picked VARCHAR NOT NULL,
  meta VARCHAR NOT NULL, at FLOAT NOT NULL, PRIMARY KEY (user, persona));
INSERT INTO answers VALUES ('ann', 'c', 'a1', '', 'izzy', 'ses_1', 'msg_1', 1.0);
INSERT INTO personas VALUES ('ann', 'izzy', 'open-persona/izzy', '', '{}', 1.0);
PRAGMA user_version = 1;
"""


class Calendar:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sidecar.db"


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
async def book(path: Path, calendar: Calendar) -> AsyncIterator[UsageBook]:
    store = Store(path)
    book = UsageBook(store, calendar)
    book.start()
    yield book
    await book.aclose()
    store.close()


def ended(
    persona: str = "izzy",
    *,
    user: str = "u1",
    model: str = "openai/gpt",
    calls: int = 1,
    tokens: tuple[int, int] = (10, 5),
) -> RunningTurn:
    turn = RunningTurn("t", user, persona, SecretStr("token"), frozenset({model}))
    turn.note.calls, (turn.note.input_tokens, turn.note.output_tokens) = calls, tokens
    return turn


def row(
    persona: str, calls: int, tokens: tuple[int, int], *, day: str = "2026-03-01", user: str = "u1", model: str = "gpt"
) -> UsageRow:
    return UsageRow(UsageKey(day, user, persona, "openai", model), calls, *tokens)


@pytest.mark.requirement("usage:counted")
async def test_turns_of_a_day_add_up_by_user_persona_and_model(book: UsageBook) -> None:
    book.note(ended(tokens=(10, 5)))
    assert await book.rows(1) == [row("izzy", 1, (10, 5))]
    for turn in (ended(calls=2, tokens=(100, 50)), ended("drafter"), ended(user="u2"), ended(model="openai/a/b")):
        book.note(turn)
    assert await book.rows(1) == [
        row("drafter", 1, (10, 5)),
        row("izzy", 1, (10, 5), model="a/b"),
        row("izzy", 3, (110, 55)),
        row("izzy", 1, (10, 5), user="u2"),
    ]


async def test_a_turn_that_called_no_model_leaves_no_row(book: UsageBook) -> None:
    book.note(ended(calls=0, tokens=(0, 0)))
    assert await book.rows(1) == []


async def test_days_are_counted_back_from_today_in_utc(book: UsageBook, calendar: Calendar) -> None:
    for days_ago in (40, 1, 0):
        calendar.now = NOON - timedelta(days=days_ago)
        book.note(ended())
    assert [found.key.day for found in await book.rows(2)] == ["2026-03-01", "2026-02-28"]
    assert [found.key.day for found in await book.rows(41)] == ["2026-03-01", "2026-02-28", "2026-01-20"]


@pytest.mark.requirement("usage:kept")
async def test_what_was_noted_is_there_after_a_restart(path: Path, calendar: Calendar) -> None:
    for _ in range(2):
        store = Store(path)
        book = UsageBook(store, calendar)
        book.start()
        book.note(ended())
        await book.aclose()
        store.close()
    store = Store(path)
    assert store.usage("2026-01-01") == [row("izzy", 2, (20, 10))]
    store.close()


async def test_what_cannot_be_written_is_written_later(
    book: UsageBook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OperationalError("insert", {}, OSError("disk full"))

    with monkeypatch.context() as broken:
        broken.setattr(Store, "add_usage", full)
        book.note(ended())
        assert await book.rows(1) == []
    assert "not written" in caplog.text
    book.note(ended())
    assert await book.rows(1) == [row("izzy", 2, (20, 10))]


@pytest.mark.requirement("usage:counted")
async def test_the_registry_tells_each_ended_turn_once_with_its_last_tokens() -> None:
    told: list[tuple[str, int]] = []
    turns = TurnRegistry(lambda turn: told.append((turn.turn_id, turn.note.input_tokens)))
    with pytest.raises(ZeroDivisionError):
        async with turns.open(ended(tokens=(0, 0))) as turn:
            turn.note.input_tokens += 9
            raise ZeroDivisionError
    assert told == [("t", 9)]


@pytest.mark.requirement("store:migrated")
def test_a_file_of_version_1_keeps_its_rows_and_gets_the_new_table(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(FIRST_VERSION)
    connection.close()
    store = Store(path)
    assert store.answers("ann", "c") == {"a1": Answer("ann", "c", "a1", "", "izzy", "ses_1", "msg_1")}
    assert store.personas("ann", 10) == [KnownPersona("izzy", "open-persona/izzy", "", "{}")]
    store.add_usage([row("izzy", 1, (10, 5))])
    assert store.usage("2026-03-01") == [row("izzy", 1, (10, 5))]
    store.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(STEPS),)
    connection.close()
