from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from sidecar.store import Answer, KnownPersona, Store, StoreError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "sidecar.db"


@pytest.mark.requirement("store:keyed-by-user-and-chat")
def test_answers_are_kept_by_user_and_chat_across_a_restart(path: Path) -> None:
    first = Store(path)
    answer = Answer("ann", "c", "a1", "", "izzy", "ses_1", "msg_1")
    first.remember_answer(answer)
    first.remember_answer(Answer("bob", "c", "a1", "", "izzy", "ses_9", "msg_9"))
    first.close()
    again = Store(path)
    assert again.answers("ann", "c") == {"a1": answer}
    assert again.answers("ann", "d") == {}
    again.close()


def test_a_later_answer_replaces_what_was_known_of_it(path: Path) -> None:
    store = Store(path)
    store.remember_answer(Answer("ann", "c", "a1", "", "izzy"))
    store.remember_answer(Answer("ann", "c", "a1", "a0", "izzy", "ses", "msg"))
    assert store.answers("ann", "c")["a1"].session == "ses"
    store.close()


def test_personas_are_kept_by_user(path: Path) -> None:
    store = Store(path)
    for meta in ("{}", '{"model": "m"}'):
        store.remember_persona("ann", KnownPersona("p", "open-persona/izzy", "p", meta))
    assert store.personas("ann", 9) == [KnownPersona("p", "open-persona/izzy", "p", '{"model": "m"}')]
    assert store.personas("bob", 9) == []
    store.close()


def test_a_file_of_a_newer_version_is_refused(path: Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="newer Open Persona"):
        Store(path)


def test_the_file_is_its_owners_alone(path: Path) -> None:
    Store(path).close()
    assert path.stat().st_mode & 0o077 == 0
