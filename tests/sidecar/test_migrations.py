"""How files of older versions become this one's: in the sidecar, and in the hub, which has the same code."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa

import hub.migrations
import sidecar.migrations
from hub.errors import HistoryError
from hub.history import History
from hub.history_tables import STEPS as HUB_STEPS
from hub.history_tables import schema as hub_schema
from sidecar.store import Answer, KnownPersona, Store, StoreError, UsageKey, UsageRow
from sidecar.store_tables import STEPS as SIDECAR_STEPS
from sidecar.store_tables import metadata as sidecar_schema

VERSION_1 = """
CREATE TABLE answers (user VARCHAR NOT NULL, chat VARCHAR NOT NULL, answer VARCHAR NOT NULL, parent VARCHAR NOT NULL,
    persona VARCHAR NOT NULL, session VARCHAR NOT NULL, message VARCHAR NOT NULL, at FLOAT NOT NULL,
    PRIMARY KEY (user, chat, answer));
CREATE TABLE personas (user VARCHAR NOT NULL, persona VARCHAR NOT NULL, model VARCHAR NOT NULL, picked VARCHAR NOT NULL,
    meta VARCHAR NOT NULL, at FLOAT NOT NULL, PRIMARY KEY (user, persona));
INSERT INTO answers VALUES ('ann', 'c', 'a1', '', 'izzy', 'ses_1', 'msg_1', 1.0);
INSERT INTO personas VALUES ('ann', 'izzy', 'open-persona/izzy', '', '{}', 1.0);
PRAGMA user_version = 1;
"""
VERSION_2 = (
    VERSION_1
    + """
CREATE TABLE usage (day VARCHAR NOT NULL, user VARCHAR NOT NULL, persona VARCHAR NOT NULL, provider VARCHAR NOT NULL,
    model VARCHAR NOT NULL, calls INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    PRIMARY KEY (day, user, persona, provider, model));
INSERT INTO usage VALUES ('2026-03-01', 'ann', 'izzy', 'openai', 'gpt', 1, 10, 5);
PRAGMA user_version = 2;
"""
)
FIRST_HUB = """
CREATE TABLE probes (id INTEGER NOT NULL, name TEXT NOT NULL, at INTEGER NOT NULL, ok BOOLEAN NOT NULL,
    health TEXT NOT NULL, reason TEXT, latency_ms FLOAT NOT NULL, PRIMARY KEY (id));
CREATE INDEX probes_by_name ON probes (name, at);
CREATE TABLE standings (name TEXT NOT NULL, saved_at INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (name));
INSERT INTO probes VALUES (1, 'echo', 1760000000000, 1, 'healthy', NULL, 3.5);
"""
ANSWER = Answer("ann", "c", "a1", "", "izzy", "ses_1", "msg_1")
USED = UsageRow(UsageKey("2026-03-01", "ann", "izzy", "openai", "gpt"), 1, 10, 5)


def write(path: Path, script: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.executescript(script)
    connection.close()


def version(path: Path) -> int:
    connection = sqlite3.connect(path)
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    connection.close()
    return found


@pytest.mark.requirement("store:migrated")
@pytest.mark.parametrize(("old", "script"), [(1, VERSION_1), (2, VERSION_2)])
def test_every_older_file_keeps_its_rows_and_a_copy_of_it_stays(tmp_path: Path, old: int, script: str) -> None:
    path = tmp_path / "sidecar.db"
    write(path, script)
    store = Store(path)
    assert store.answers("ann", "c") == {"a1": ANSWER}
    assert store.personas("ann", 10) == [KnownPersona("izzy", "open-persona/izzy", "", "{}")]
    assert store.usage("2026-01-01") == ([USED] if old == 2 else [])
    assert store.forget_chat("ann", "c") == {"ses_1"}
    store.close()
    copy = tmp_path / f"sidecar.db.v{old}"
    assert (version(path), version(copy)) == (len(SIDECAR_STEPS), old)
    assert copy.stat().st_mode & 0o077 == 0
    kept = sqlite3.connect(copy)
    assert kept.execute("SELECT count(*) FROM answers").fetchone() == (1,)
    kept.close()
    assert sorted(found.name for found in tmp_path.iterdir() if ".v" in found.name) == [copy.name]


@pytest.mark.requirement("store:migrated")
def test_a_file_of_this_version_is_opened_without_a_copy(tmp_path: Path) -> None:
    for _ in range(2):
        Store(tmp_path / "sidecar.db").close()
    assert list(tmp_path.glob("sidecar.db.v*")) == []


@pytest.mark.requirement("hub:history-migrated")
async def test_the_first_hub_file_keeps_its_checks_and_gets_the_other_tables(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    write(path, FIRST_HUB)
    history = History(path)
    await history.open()
    assert [entry.latency_ms for entry in await history.entries("echo", 9)] == [3.5]
    assert await history.changes("echo", 9) == ()
    await history.close()
    assert (version(path), version(tmp_path / "hub.db.v0")) == (len(HUB_STEPS), 0)


@pytest.mark.requirement("hub:history-migrated")
async def test_a_hub_file_of_a_newer_version_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    write(path, FIRST_HUB + "PRAGMA user_version = 99;")
    with pytest.raises(HistoryError, match="newer Open Persona"):
        await History(path).open()
    assert version(path) == 99


@pytest.mark.parametrize(
    ("module", "steps", "tables"),
    [(sidecar.migrations, SIDECAR_STEPS, sidecar_schema), (hub.migrations, HUB_STEPS, hub_schema)],
)
@pytest.mark.requirement("store:migrated")
def test_the_steps_lead_to_the_tables_that_the_code_uses(
    tmp_path: Path, module: ModuleType, steps: object, tables: sa.MetaData
) -> None:
    made, declared = tmp_path / "made.db", tmp_path / "declared.db"
    module.migrate(made, steps)
    engine = sa.create_engine(f"sqlite:///{declared}")
    tables.create_all(engine)
    engine.dispose()
    assert shape(made) == shape(declared)


def shape(path: Path) -> dict[str, object]:
    """Columns with type, nullability and place in the key, and indexes, of each table."""
    connection = sqlite3.connect(path)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {
        name: (
            [row[1:] for row in connection.execute(f"PRAGMA table_info({name})")],
            sorted(row[1:3] for row in connection.execute(f"PRAGMA index_list({name})")),
        )
        for name in names
    }
    connection.close()
    return dict(found)


@pytest.mark.requirement("store:migration-whole-or-not")
@pytest.mark.parametrize("package", ["sidecar", "hub"])
def test_a_killed_migration_leaves_the_old_version_valid(tmp_path: Path, package: str) -> None:
    path = tmp_path / "sidecar.db"
    write(path, VERSION_1)
    script = f"""
        import os, signal
        from pathlib import Path
        from {package}.migrations import migrate
        def dies(connection):
            connection.execute("CREATE TABLE half (x)")
            connection.executemany("INSERT INTO half VALUES (?)", [("y" * 1000,)] * 5000)
            connection.execute("DELETE FROM answers")
            os.kill(os.getpid(), signal.SIGKILL)
        migrate(Path({str(path)!r}), (None, dies))
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False, timeout=30)
    assert killed.returncode == -signal.SIGKILL
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall() == []
    connection.close()
    assert version(path) == 1
    store = Store(path)
    assert store.answers("ann", "c") == {"a1": ANSWER}
    store.close()


@pytest.mark.requirement("store:migration-whole-or-not")
def test_a_step_that_fails_leaves_what_the_steps_before_it_made(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.db"
    write(path, VERSION_1)

    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("DROP TABLE answers")
        raise sqlite3.OperationalError("no more space")

    with pytest.raises(sqlite3.OperationalError):
        sidecar.migrations.migrate(path, (*SIDECAR_STEPS[:2], fails))
    assert version(path) == 2
    store = Store(path)
    assert store.answers("ann", "c") == {"a1": ANSWER}
    store.close()


@pytest.mark.requirement("store:migrated")
def test_a_newer_file_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.db"
    write(path, VERSION_2 + "PRAGMA user_version = 4;")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"newer Open Persona\. Update"):
        Store(path)
    assert path.read_bytes() == before


def test_the_two_packages_migrate_alike() -> None:
    assert Path(sidecar.migrations.__file__).read_text() == Path(hub.migrations.__file__).read_text()
