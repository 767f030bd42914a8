"""A disk that is full, for real: a file system of a few pages."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy.exc import OperationalError

from hub.errors import HistoryError
from hub.history import History
from open_persona.chats import ChatNote
from open_persona.errors import HomeRefused
from open_persona.secrets import create_private
from sidecar.runners.base import RunnerSpec
from sidecar.runners.directories import write_config
from sidecar.store import Answer, Store, StoreError
from tests.sidecar.test_migrations import ANSWER, FIRST_HUB, VERSION_2, version, write

pytestmark = [
    pytest.mark.real,
    pytest.mark.requirement("store:full-disk"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "open-persona-test", str(folder)], check=True, timeout=10
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=10)


def fill(disk: Path) -> Path:
    """Takes the last byte."""
    hog = disk / "hog"
    with contextlib.suppress(OSError), hog.open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 1024)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        (disk / "one-more").write_bytes(b"x")
    (disk / "one-more").unlink()
    return hog


def spec(disk: Path, text: str) -> RunnerSpec:
    return RunnerSpec("r", "u", "k", disk / "w", disk, text, SecretStr("t"), SecretStr("p"))


def test_a_config_that_finds_no_room_leaves_the_old_one_whole(disk: Path) -> None:
    (disk / "config").mkdir()
    write_config(spec(disk, '{"old": true}'))
    fill(disk)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        write_config(spec(disk, '{"new": true}' * 1000))
    assert [path.name for path in (disk / "config").iterdir()] == ["open-persona.json"]
    assert (disk / "config" / "open-persona.json").read_text() == '{"old": true}'


def test_a_chat_note_and_the_secrets_are_whole_or_not_there(disk: Path) -> None:
    note = ChatNote(disk, "local", "c")
    note.keep("answer-1")
    fill(disk)
    with pytest.raises(HomeRefused):
        note.keep("answer-2")
    with pytest.raises(HomeRefused):
        create_private(disk / "secrets.json", "{}")
    assert note.last_answer() == "answer-1"
    assert not (disk / "secrets.json").exists()
    assert list(disk.glob(".secrets*")) == []


def test_answers_that_find_no_room_cost_memory_and_the_file_stays_valid(disk: Path) -> None:
    store = Store(disk / "sidecar.db")
    store.remember_answer(ANSWER)
    hog = fill(disk)
    with pytest.raises(OperationalError, match="full"):
        for number in range(2000):
            store.note_answer(Answer("ann", "c", f"b{number}", "a1", "izzy", "s" * 200, "m" * 200))
    assert store.answers("ann", "c")["a1"] == ANSWER
    hog.unlink()
    later = Answer("ann", "c", "a2", "a1", "izzy", "ses_1", "msg_2")
    store.remember_answer(later)
    store.close()
    connection = sqlite3.connect(disk / "sidecar.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    again = Store(disk / "sidecar.db")
    assert (again.answers("ann", "c")["a1"], again.answers("ann", "c")["a2"]) == (ANSWER, later)
    again.close()


def test_a_migration_that_finds_no_room_leaves_the_old_version(disk: Path) -> None:
    path = disk / "sidecar.db"
    write(path, VERSION_2)
    hog = fill(disk)
    with pytest.raises(StoreError, match="rights and its space"):
        Store(path)
    hog.unlink()
    assert version(path) == 2
    assert sorted(found.name for found in disk.iterdir() if "v2" in found.name) == []
    store = Store(path)
    assert store.answers("ann", "c") == {"a1": ANSWER}
    store.close()


async def test_the_same_of_the_hubs_file(disk: Path) -> None:
    path = disk / "hub.db"
    write(path, FIRST_HUB)
    hog = fill(disk)
    with pytest.raises(HistoryError, match="rights and space"):
        await History(path).open()
    hog.unlink()
    assert version(path) == 0
    history = History(path)
    await history.open()
    assert len(await history.entries("echo", 9)) == 1
    await history.close()
