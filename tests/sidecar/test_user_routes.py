"""Who has data, handing it over and removing it: what is told, what is in the archive, and what stays."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import tarfile
import threading
from pathlib import Path

import httpx
import pytest

from sidecar.export import export
from sidecar.opencode_copy import copy_database
from sidecar.services import Services
from sidecar.store import Answer, KnownPersona, UsageKey, UsageRow
from sidecar.user_files import remove
from tests.sidecar.test_operator_routes import KEY, sidecar

ANN, BOB, GHOST = "a" * 16, "b" * 16, "f" * 16
USERS = "/v1/open-persona/users"


def fill(home: Path, services: Services) -> None:
    """Files and rows of Ann and Bob."""
    for user in (ANN, BOB):
        workspace = home / "workspaces" / user
        (workspace / "notes").mkdir(parents=True)
        (workspace / "notes" / "plan.txt").write_text(f"plan of {user}")
        private = home / "runners" / user / "00000000"
        (private / "config").mkdir(parents=True)
        (private / "config" / "open-persona.json").write_text("token-of-the-runner")
        (private / "data" / "opencode").mkdir(parents=True)
        with sqlite3.connect(private / "data" / "opencode" / "opencode.db") as database:
            database.execute("CREATE TABLE message (words)")
            database.execute("INSERT INTO message VALUES (?)", (f"words of {user}",))
        database.close()
        (private / "data" / "opencode" / "auth.json").write_text("key-of-a-provider")
        store = services.turns.store
        store.remember_answer(Answer(user, "c", "a1", "", "izzy", f"ses-{user}", "msg"))
        store.remember_persona(user, KnownPersona("izzy", "open-persona/izzy", "", "{}"))
        store.add_usage([UsageRow(UsageKey("2026-01-02", user, "izzy", "openai", "gpt"), 2, 10, 5)])
        store.forget_chat(user, "old")


def unpacked(body: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
        return {member.name: member for member in tar.getmembers()}


def content(body: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


@pytest.mark.requirement("users:listed")
async def test_everybody_with_files_or_rows_is_listed_for_the_key_alone(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as (client, services):
        assert (await client.get(USERS)).status_code == 401
        fill(tmp_path, services)
        (tmp_path / "workspaces" / GHOST).mkdir()
        (tmp_path / "workspaces" / "not-a-user").mkdir()
        answer = (await client.get(USERS, headers=KEY)).json()
    assert answer["unused_days"] == 90
    assert [one["user"] for one in answer["users"]] == [ANN, BOB, GHOST]
    ann = answer["users"][0]
    assert ann["bytes"] > 8192
    assert (ann["live"], ann["whole"], ann["calls"], ann["input_tokens"]) == (False, True, 2, 10)
    assert ann["last_used"][:2] == "20"


@pytest.mark.requirement("users:export")
async def test_the_archive_holds_all_of_one_user_and_no_secret(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as (client, services):
        fill(tmp_path, services)
        workspace = tmp_path / "workspaces" / ANN
        (workspace / "away").symlink_to(tmp_path / "workspaces" / BOB / "notes" / "plan.txt")
        os.mkfifo(workspace / "pipe")
        answer = await client.get(f"{USERS}/{ANN}/export", headers=KEY)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/gzip"
    members = unpacked(answer.content)
    assert set(members) == {
        "memory.json", "personas.json", "usage.json", "forgotten.json", "sessions-1.db", "not-exported.txt",
        "workspace/notes", "workspace/notes/plan.txt", "workspace/away",
    }  # fmt: skip
    assert members["workspace/away"].issym()
    assert content(answer.content, "workspace/notes/plan.txt") == f"plan of {ANN}".encode()
    assert [row["session"] for row in json.loads(content(answer.content, "memory.json"))] == [f"ses-{ANN}"]
    assert content(answer.content, "not-exported.txt") == b"workspace/pipe: neither a file nor a folder\n"
    (tmp_path / "copy.db").write_bytes(content(answer.content, "sessions-1.db"))
    database = sqlite3.connect(tmp_path / "copy.db")
    assert database.execute("SELECT words FROM message").fetchall() == [(f"words of {ANN}",)]
    database.close()
    whole = b"".join(content(answer.content, name) for name, member in members.items() if member.isfile())
    for secret in (b"token-of-the-runner", b"key-of-a-provider", BOB.encode()):
        assert secret not in whole
    assert list(tmp_path.glob(".export-*")) == []


@pytest.mark.requirement("users:export")
def test_a_database_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    for name in ("file", "folder"):
        data = tmp_path / name / "data"
        real = tmp_path / "elsewhere" / "opencode"
        real.mkdir(parents=True, exist_ok=True)
        sqlite3.connect(real / "opencode.db").close()
        data.mkdir(parents=True)
        if name == "folder":
            (data / "opencode").symlink_to(real)
        else:
            (data / "opencode").mkdir()
            (data / "opencode" / "opencode.db").symlink_to(real / "opencode.db")
        with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
            copy_database(data, tmp_path / "copy.db")


@pytest.mark.requirement("users:export")
def test_a_copy_under_a_busy_writer_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "opencode"
    folder.mkdir(parents=True)
    database = sqlite3.connect(folder / "opencode.db", isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE pair (one, two)")
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            database.execute("INSERT INTO pair VALUES (?, ?)", (number, "x" * 2000))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(10):
            copy = tmp_path / f"copy-{number}.db"
            try:
                assert copy_database(tmp_path / "data", copy)
            except OSError as error:
                assert "too fast" in str(error)  # told, and not handed over half
                continue
            with sqlite3.connect(copy) as found:
                count, last = found.execute("SELECT count(*), max(one) FROM pair").fetchone()
            found.close()
            assert count == (last or 0)
    finally:
        stop.set()
        writer.join()
        database.close()


def test_an_export_that_nobody_reads_on_ends(tmp_path: Path) -> None:
    workspace = tmp_path / "workspaces" / ANN
    workspace.mkdir(parents=True)
    (workspace / "big").write_bytes(os.urandom(20 * 2**20))
    blocks = export(tmp_path, ANN, {})
    next(blocks)
    blocks.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("export-")] == []


@pytest.mark.requirement("users:removed")
async def test_one_user_is_removed_and_the_others_stay(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as (client, services):
        fill(tmp_path, services)
        copy = tmp_path / "sidecar.db.v1"
        with sqlite3.connect(copy) as old:
            old.execute('CREATE TABLE answers ("user", chat)')
            old.executemany("INSERT INTO answers VALUES (?, 'c')", [(ANN,), (BOB,)])
        old.close()
        (tmp_path / "workspaces" / ANN / "away").symlink_to(tmp_path / "workspaces" / BOB)
        (tmp_path / "workspaces" / ANN / "notes").chmod(0)
        answer = await client.delete(f"{USERS}/{ANN}", headers=KEY)
        assert (answer.status_code, answer.json()) == (200, {"removed": ANN})
        left = (await client.get(USERS, headers=KEY)).json()["users"]
        assert [one["user"] for one in left] == [BOB]
        assert services.turns.store.answers(BOB, "c")["a1"].session == f"ses-{BOB}"
        assert (await client.delete(f"{USERS}/{ANN}", headers=KEY)).status_code == 404
    assert not (tmp_path / "workspaces" / ANN).exists()
    assert not (tmp_path / "runners" / ANN).exists()
    assert (tmp_path / "workspaces" / BOB / "notes" / "plan.txt").exists()
    with sqlite3.connect(copy) as old:
        assert old.execute('SELECT "user" FROM answers').fetchall() == [(BOB,)]
    old.close()


@pytest.mark.requirement("users:removed")
@pytest.mark.parametrize("user", ["..", "ann", "A" * 16, "a" * 15, "%2e%2e%2fworkspaces"])
async def test_what_is_no_hash_names_nobody(tmp_path: Path, user: str) -> None:
    async with sidecar(tmp_path) as (client, services):
        fill(tmp_path, services)
        for method, path in (("DELETE", f"{USERS}/{user}"), ("GET", f"{USERS}/{user}/export")):
            answer = await client.request(method, httpx.URL(path), headers=KEY)
            assert answer.status_code in (400, 404, 405), (path, answer.status_code)
    assert (tmp_path / "workspaces" / ANN / "notes" / "plan.txt").exists()


@pytest.mark.requirement("users:export")
def test_files_that_are_nothing_but_holes_are_named_and_left_out(tmp_path: Path) -> None:
    data = tmp_path / "runners" / ANN / "00000000" / "data" / "opencode"
    for folder in (tmp_path / "workspaces" / ANN, data):
        folder.mkdir(parents=True)
    for path in (tmp_path / "workspaces" / ANN / "endless", data / "opencode.db"):
        with path.open("wb") as sparse:
            sparse.write(b"begin")
            sparse.truncate(1 << 42)
    body = b"".join(export(tmp_path, ANN, {}))
    assert set(unpacked(body)) == {"not-exported.txt"}
    told = content(body, "not-exported.txt").decode()
    assert "workspace/endless: has holes" in told
    assert "sessions: has holes" in told


@pytest.mark.requirement("users:removed")
def test_folders_that_are_nested_without_end_or_closed_are_removed(tmp_path: Path) -> None:
    workspace = tmp_path / "workspaces" / ANN
    workspace.mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    (workspace / "link").symlink_to(tmp_path / "outside")
    (workspace / ".removed-0").mkdir()
    deep = os.open(workspace, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("deep", dir_fd=deep)
        below = os.open("deep", os.O_RDONLY, dir_fd=deep)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=below))
        os.close(deep)
        deep = below
    os.fchmod(deep, 0)
    os.close(deep)
    workspace.chmod(0o500)
    remove(tmp_path, ANN)
    assert [path.name for path in (tmp_path / "workspaces").iterdir()] == []
    assert (tmp_path / "outside" / "kept").exists()
