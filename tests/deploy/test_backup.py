"""Backup and restore: all state into one private file and back, while it is written to, and what is refused."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import sqlite3
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from deploy import backup, first_run, restore
from deploy.archive import FORMAT_NAME, MANIFEST
from deploy.state import OWNER, Refused, read_env
from tests.deploy.compose_file import ROOT

pytestmark = pytest.mark.skipif(os.geteuid() not in (0, OWNER), reason="needs root or user 1000")


@pytest.fixture
def deployment(tmp_path: Path) -> Path:
    """A state folder with what a used one holds; gives its env file."""
    (tmp_path / "docker.sock").touch()
    env, state = tmp_path / "env", tmp_path / "state"
    first_run.main(
        ["--env-file", str(env), "--state-dir", str(state), "--no-build"],
        {"OPEN_PERSONA_DOCKER_SOCKET": str(tmp_path / "docker.sock"), "WEBUI_ADMIN_PASSWORD": "horse"},
    )
    workspace = state / "data" / "workspaces" / "0123456789abcdef"
    workspace.mkdir(parents=True)
    (workspace / "letter.md").write_text("Dear donor")
    (workspace / "run.sh").write_text("true")
    (workspace / "run.sh").chmod(0o750)
    (workspace / "link").symlink_to("letter.md")
    for name in ("data/sidecar.db", "hub/hub.db"):
        with sqlite3.connect(state / name) as database:
            database.execute("create table kept (what text)")
            database.execute("insert into kept values (?)", (name,))
        database.close()
    with sqlite3.connect(state / "open-webui" / "webui.db") as database:
        database.execute("create table tool (valves text)")
        database.execute("insert into tool values (?)", (fernet(state).encrypt(b'{"openai": "sk-stored"}').decode(),))
    database.close()
    return env


def fernet(state: Path) -> Fernet:
    """As Open WebUI makes it of its secret key (``open_webui/utils/valves.py``)."""
    key = (state / "secrets" / "WEBUI_SECRET_KEY").read_text().encode()
    return Fernet(key if len(key) == 44 else base64.urlsafe_b64encode(hashlib.sha256(key).digest()))


def saved(env: Path) -> Path:
    return backup.main([str(env.parent / "backup.tar.gz"), "--env-file", str(env)])


def restored(file: Path, place: Path, *more: str) -> Path:
    place.mkdir(exist_ok=True)
    arguments = [str(file), "--env-file", str(place / "env"), "--state-dir", str(place / "state"), *more]
    return restore.main(arguments, {"OPEN_PERSONA_DOCKER_SOCKET": str(place / "none")})


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


@pytest.mark.requirement("backup:round-trip")
def test_all_state_is_back_in_an_empty_place_and_private(deployment: Path, tmp_path: Path) -> None:
    file = saved(deployment)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    state = restored(file, tmp_path / "new")
    before = tmp_path / "state"
    found = {str(path.relative_to(state)): path.lstat() for path in state.rglob("*")}
    assert set(found) == {str(path.relative_to(before)) for path in before.rglob("*")}
    assert {each.st_uid for each in found.values()} == {OWNER}
    workspace = state / "data" / "workspaces" / "0123456789abcdef"
    assert (workspace / "letter.md").read_text() == "Dear donor"
    assert stat.S_IMODE((workspace / "run.sh").stat().st_mode) == 0o750
    assert (workspace / "link").readlink() == Path("letter.md")
    for name in ("data/sidecar.db", "hub/hub.db"):
        assert rows(state / name, "select what from kept") == [(name,)]
    for secret in (before / "secrets").iterdir():
        copy = state / "secrets" / secret.name
        assert (copy.read_text(), stat.S_IMODE(copy.stat().st_mode)) == (secret.read_text(), 0o600)
    old, new = read_env(deployment), read_env(tmp_path / "new" / "env")
    assert new == old | {"OPEN_PERSONA_STATE_DIR": str(state)}


@pytest.mark.requirement("backup:valves")
def test_a_key_that_a_user_stored_is_readable_afterwards(deployment: Path, tmp_path: Path) -> None:
    state = restored(saved(deployment), tmp_path / "new")
    [(stored,)] = rows(state / "open-webui" / "webui.db", "select valves from tool")
    assert json.loads(fernet(state).decrypt(str(stored).encode())) == {"openai": "sk-stored"}


@pytest.mark.requirement("backup:round-trip")
def test_a_database_in_use_is_taken_whole_with_what_lies_beside_it(deployment: Path, tmp_path: Path) -> None:
    live = sqlite3.connect(tmp_path / "state" / "data" / "sidecar.db", isolation_level=None)
    try:
        live.execute("pragma journal_mode=wal")
        live.execute("insert into kept values ('committed')")
        live.execute("begin")
        live.execute("insert into kept values ('not yet')")
        state = restored(saved(deployment), tmp_path / "new")
    finally:
        live.close()
    assert rows(state / "data" / "sidecar.db", "select what from kept") == [("data/sidecar.db",), ("committed",)]


@pytest.mark.requirement("backup:agents")
def test_nothing_that_an_agent_can_write_keeps_a_backup_from_being_made(
    deployment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    workspace = state / "data" / "workspaces" / "0123456789abcdef"
    (workspace / "looks.db").write_bytes(b"SQLite format 3\0 but is none")
    uploads = state / "open-webui" / "uploads"
    uploads.mkdir()
    (uploads / "sent.db").write_bytes(b"SQLite format 3\0 but is none")
    (workspace / "held.db-wal").write_bytes(b"no log")
    with (workspace / "endless").open("wb") as sparse:
        sparse.truncate(1 << 42)
    (workspace / "pipe").symlink_to("/etc/passwd")
    deep = os.open(workspace, os.O_RDONLY)
    for _ in range(600):
        os.mkdir("d" * 100, dir_fd=deep)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    held = sqlite3.connect(workspace / "held.db", isolation_level=None)
    held.execute("create table t (x)")
    held.execute("begin exclusive")
    try:
        new = restored(saved(deployment), tmp_path / "new") / "data" / "workspaces" / "0123456789abcdef"
    finally:
        held.close()
        subprocess.run(["rm", "-rf", str(workspace)], check=True, timeout=60)
    assert (new / "looks.db").read_bytes() == b"SQLite format 3\0 but is none"
    assert (new.parents[2] / "open-webui" / "uploads" / "sent.db").exists()
    assert (new / "letter.md").read_text() == "Dear donor"
    assert rows(new / "held.db", "select * from t") == []
    assert (new / "pipe").is_symlink()
    assert not (new / "endless").exists()
    said = capsys.readouterr().out
    assert "endless: has holes" in said
    assert "nested too deep" in said
    subprocess.run(["rm", "-rf", str(new)], check=True, timeout=60)


@pytest.mark.requirement("backup:agents")
def test_no_journal_of_an_agents_makes_a_backup_delete_a_file(deployment: Path, tmp_path: Path) -> None:
    """SQLite rolls a journal back that it finds beside a database, and then deletes the file that the journal names."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "state" / "data" / "workspaces" / "0123456789abcdef"
    opencode = tmp_path / "state" / "data" / "runners" / "0123456789abcdef" / "01234567" / "data" / "opencode"
    opencode.mkdir(parents=True)
    for database in (folder / "mine.db", opencode / "opencode.db"):
        with sqlite3.connect(database) as made:
            made.execute("create table t (x)")
        made.close()
        database.with_name(f"{database.name}-journal").write_bytes(hot_journal(victim))
    state = restored(saved(deployment), tmp_path / "new")
    assert victim.read_text() == "precious"
    assert (state / "data" / "workspaces" / "0123456789abcdef" / "mine.db-journal").exists()


def hot_journal(named: Path) -> bytes:
    """One record short of doing anything, but for its end: the name of a super-journal."""
    name = str(named).encode()
    magic = bytes.fromhex("d9d505f920a163d7")
    header = magic + b"".join(number.to_bytes(4, "big") for number in (0, 0, 2, 512, 4096))
    checksum = sum(name) & 0xFFFFFFFF
    end = (4097).to_bytes(4, "big") + name + len(name).to_bytes(4, "big") + checksum.to_bytes(4, "big") + magic
    return header.ljust(512, b"\0") + end


@pytest.mark.requirement("backup:agents")
def test_opencodes_database_is_taken_whole_while_it_is_written(deployment: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "data" / "runners" / "0123456789abcdef" / "01234567" / "data" / "opencode"
    folder.mkdir(parents=True)
    live = sqlite3.connect(folder / "opencode.db", isolation_level=None)
    try:
        live.execute("pragma journal_mode=wal")
        live.execute("create table t (x)")
        live.execute("insert into t values (1)")
        state = restored(saved(deployment), tmp_path / "new")
    finally:
        live.close()
    copy = state / folder.relative_to(tmp_path / "state")
    assert [path.name for path in copy.iterdir()] == ["opencode.db"]
    assert rows(copy / "opencode.db", "select x from t") == [(1,)]


@pytest.mark.requirement("backup:round-trip")
def test_a_file_that_goes_while_its_folder_is_listed_takes_no_other_with_it(
    deployment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing = tmp_path / "state" / "open-webui" / "passing"
    passing.touch()
    looked = Path.iterdir

    def listed(folder: Path) -> list[Path]:
        found = list(looked(folder))
        if passing in found:
            passing.unlink()
        return found

    monkeypatch.setattr(Path, "iterdir", listed)
    file = saved(deployment)
    monkeypatch.undo()
    with tarfile.open(file) as archive:
        assert "state/open-webui/webui.db" in archive.getnames()


def remade(file: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]) -> Path:
    """The same archive with its members changed."""
    target = file.with_name("remade.tar.gz")
    with tarfile.open(file) as source, tarfile.open(target, "w:gz") as archive:
        for member in source:
            held = source.extractfile(member) if member.isfile() else None
            changed, data = change(member, held.read() if held else b"")
            changed.size = len(data)
            archive.addfile(changed, io.BytesIO(data))
    return target


def newer(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return member, b"99\n" if member.name == FORMAT_NAME else data


def damaged(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return member, data.replace(b"Dear", b"Deer")


def outside(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    member.name = member.name.replace("letter.md", "../../../../../letter.md")
    return member, data


def unfinished(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    member.name = "state/x" if member.name == MANIFEST else member.name
    return member, data


@pytest.mark.requirement("backup:refusals")
@pytest.mark.parametrize(
    ("change", "why"),
    [(newer, "format 99"), (damaged, "damaged: state/data"), (outside, "which no backup"), (unfinished, "too early")],
)
def test_an_archive_that_would_not_do_is_refused_with_nothing_written(
    deployment: Path, tmp_path: Path, change: Callable[..., tuple[tarfile.TarInfo, bytes]], why: str
) -> None:
    file = remade(saved(deployment), change)
    with pytest.raises(Refused, match=why):
        restored(file, tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.requirement("backup:refusals")
def test_what_is_no_backup_is_refused(deployment: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(saved(deployment).read_bytes()[:2000])
    other = tmp_path / "other.tar.gz"
    other.write_bytes(gzip.compress(b"no archive"))
    for file in (cut, other, tmp_path / "missing"):
        with pytest.raises(Refused):
            restored(file, tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.requirement("backup:refusals")
def test_nothing_is_overwritten(deployment: Path, tmp_path: Path) -> None:
    file = saved(deployment)
    with pytest.raises(Refused, match="is there already"):
        saved(deployment)
    with pytest.raises(Refused, match="never overwritten"):
        restore.main([str(file), "--env-file", str(deployment)], {})
    (tmp_path / "new" / "state").mkdir(parents=True)
    (tmp_path / "new" / "state" / "mine").touch()
    with pytest.raises(Refused, match="not empty"):
        restored(file, tmp_path / "new")


@pytest.mark.requirement("backup:refusals")
def test_the_commands_say_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    for name, arguments in {"backup": ["x.tar.gz", "--env-file", "none"], "restore": ["none.tar.gz"]}.items():
        command = [str(ROOT / "deploy" / name), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert done.stderr.startswith(f"{name}: ")
