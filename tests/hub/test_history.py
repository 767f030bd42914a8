"""What is stored, and what a restart finds again."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hub import history as module
from hub.errors import HistoryError
from hub.history import History, dump_standing, load_standing
from hub.state import Standing
from hub.tools import Tool
from hub.wire import ProbeResult

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def result(seconds_ago: float, name: str = "demo", ok: bool = True) -> ProbeResult:
    at = NOW - timedelta(seconds=seconds_ago)
    return ProbeResult(name=name, at=at, ok=ok, reason=None if ok else "refused", stage="done", latency_ms=2.5)


@pytest.mark.requirement("hub:history-survives")
async def test_checks_and_the_last_standing_survive_a_restart(tmp_path: Path) -> None:
    standing = Standing(health="healthy", last_ok_at=NOW, tools=(Tool("echo", "f1", "words", {"name": "echo"}),))
    first = History(tmp_path / "new" / "hub.db")
    await first.open()
    await first.record(result(60, ok=False), Standing(health="down", reason="refused"))
    await first.record(result(30), standing)
    await first.close()

    second = History(tmp_path / "new" / "hub.db")
    await second.open()
    past = (await second.past(NOW - timedelta(hours=24), {"demo"}))["demo"]
    entries = await second.entries("demo", 10)
    await second.close()
    assert (past.standing.health, past.standing.last_ok_at) == ("healthy", NOW)
    assert past.standing.tools == (Tool("echo", "f1"),)
    assert past.saved_at == NOW - timedelta(seconds=30)
    assert [health for _, _, health, _ in past.checks] == ["down", "healthy"]
    assert [(entry.ok, entry.health, entry.reason) for entry in entries] == [
        (True, "healthy", None),
        (False, "down", "refused"),
    ]


async def test_old_and_surplus_checks_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PRUNE_EVERY", 1)
    monkeypatch.setattr(module, "MAX_ROWS", 3)
    history = History(tmp_path / "hub.db")
    await history.open()
    for seconds in (60 * 60 * 50, 50, 40, 30, 20, 10):
        await history.record(result(seconds), Standing())
    await history.record(result(5, name="other"), Standing())
    entries = await history.entries("demo", 100)
    await history.close()
    assert [(NOW - entry.at).total_seconds() for entry in entries] == [10, 20, 30]


async def test_a_file_that_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "hub.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(HistoryError, match="may be moved away"):
        await History(tmp_path / "hub.db").open()


@pytest.mark.parametrize("limit", ["LOCK_TIMEOUT_S", "WRITE_TIMEOUT_S"])
async def test_a_locked_file_neither_raises_nor_holds_up_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limit: str
) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT_S", 0.6)
    monkeypatch.setattr(module, limit, 0.3)
    history = History(tmp_path / "hub.db")
    await history.open()
    with sqlite3.connect(tmp_path / "hub.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        writing = asyncio.create_task(history.record(result(1), Standing()))
        turns = 0
        while not writing.done():
            turns += 1
            await asyncio.sleep(0.01)
        await history.record(result(1), Standing())
        other.execute("ROLLBACK")
    other.close()
    await history.close()
    assert turns > 5
    assert [record.message.startswith("checks are not being stored") for record in caplog.records] == [True]


def test_a_standing_of_another_release_is_refused_not_believed() -> None:
    assert load_standing(dump_standing(Standing(health="down"))).health == "down"
    with pytest.raises(ValueError, match="health"):
        load_standing('{"health": "fine"}')
