"""What is counted of a user's files, and when a turn is ended for it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from pydantic import SecretStr

from sidecar import quota
from sidecar.errors import Busy, RunnerError
from sidecar.quota import SLACK, Quota, Size, measure, over, shown
from sidecar.runners.base import RunnerSpec
from sidecar.runners.live import LiveRunner
from sidecar.start_checks import StartChecks

MIB = 2**20
PR_SET_DUMPABLE = 4


class Live:
    """What the quota knows of a live runner."""

    def __init__(self, home: Path) -> None:
        self.spec = RunnerSpec(
            "r", "ann", "k", home / "workspaces", home / "runners" / "k", "", SecretStr("t"), SecretStr("p")
        )
        self.spec.workspace.mkdir(parents=True)
        self.spec.data.mkdir(parents=True)
        self.alone = False
        self.ended = asyncio.Event()
        self.told: tuple[str, str] = ("", "")

    async def end_for(self, message: str, reason: str) -> None:
        self.told = (message, reason)
        self.ended.set()


def write(path: Path, mib: float) -> None:
    path.write_bytes(os.urandom(int(mib * MIB)))


@asynccontextmanager
async def watched(live: Live, allowed: float, least_free: int = 0) -> AsyncIterator[list[Size]]:
    """Gives what was measured so far, once it was measured."""
    looks: list[Size] = []

    def looking(folders: Sequence[Path], stopped: threading.Event) -> Size:
        looks.append(measure(folders, stopped))
        return looks[-1]

    watch = Quota(int(allowed * MIB), least_free, interval_s=0.02, close_s=0.02).watched(cast("LiveRunner", live))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(quota, "measure", looking)
        async with asyncio.timeout(20), watch:
            await more(looks)
            yield looks


async def more(looks: list[Size]) -> None:
    """Waits for a look that begins from now on."""
    seen = len(looks)
    while len(looks) < seen + 2:
        await asyncio.sleep(0.01)


@pytest.mark.requirement("quota:allocated")
def test_what_is_taken_on_the_disk_counts_once(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    (folder / "a" / "b").mkdir(parents=True)
    empty = measure([folder]).taken
    write(folder / "a" / "b" / "file", 1)
    os.link(folder / "a" / "b" / "file", folder / "again")
    with (folder / "sparse").open("wb") as sparse:
        sparse.truncate(50 * 2**30)
    (folder / "away").symlink_to("/usr")
    assert MIB <= measure([folder]).taken - empty < 1.1 * MIB
    assert measure([folder, tmp_path / "missing"]) == measure([folder])


@pytest.mark.requirement("quota:bounded")
def test_too_many_files_count_as_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "MAX_FILES", 100)
    for number in range(201):
        (tmp_path / str(number)).touch()
        if number == 100:
            size = measure([tmp_path])
            assert (size.files, size.fault) == (101, "")
            assert over(size, MIB).startswith("Your workspace holds 101 files; 100 are allowed. The answer was stopped")
    assert measure([tmp_path]).fault == "holds more than 200 files"


@pytest.mark.requirement("quota:over-already")
async def test_who_has_too_many_files_may_still_delete_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "MAX_FILES", 20)
    monkeypatch.setattr(quota, "MORE_FILES", 5)
    live = Live(tmp_path)
    for number in range(30):
        (live.spec.workspace / str(number)).touch()
    async with watched(live, allowed=100) as looks:
        (live.spec.workspace / "0").unlink()
        await more(looks)
        assert not live.ended.is_set()
        for number in range(7):
            (live.spec.workspace / f"new-{number}").touch()
        await live.ended.wait()
    assert "20 are allowed" in live.told[0]


@pytest.mark.requirement("quota:ends-the-turn")
@pytest.mark.parametrize("shell", [False, True])
async def test_a_turn_with_a_shell_ends_before_files_without_a_name_fill_the_disk(tmp_path: Path, shell: bool) -> None:
    live = Live(tmp_path)
    async with watched(live, allowed=100, least_free=2**62) as looks:
        live.alone = shell
        if shell:
            await live.ended.wait()
        else:
            await more(looks)
    assert live.told[1] == ("disk_full" if shell else "")


def nested(folder: Path, name: str, depth: int) -> None:
    """Folders that no path of the kernel's reaches; a file of 1 MiB is in the last."""
    deep = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=deep)
        below = os.open(name, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    with os.fdopen(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=deep), "wb") as file:
        file.write(os.urandom(MIB))
    os.close(deep)


@pytest.mark.requirement("quota:bounded")
def test_a_path_that_is_too_long_hides_nothing(tmp_path: Path) -> None:
    nested(tmp_path, "d" * 250, 100)
    size = measure([tmp_path])
    assert (size.taken > MIB, size.fault, size.files) == (True, "", 101)
    nested(tmp_path, "e" * 250, 300)
    assert "cannot be looked into" in measure([tmp_path]).fault
    subprocess.run(["rm", "-rf", *(str(path) for path in tmp_path.iterdir())], check=True, timeout=60)


@pytest.mark.real
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
@pytest.mark.requirement("quota:allocated")
@pytest.mark.parametrize("mode", [0o000, 0o400, 0o100])
def test_a_folder_that_the_agent_has_closed_hides_nothing(tmp_path: Path, mode: int) -> None:
    home = Path("/var/tmp") / f"quota-{os.getpid()}-{mode}"
    closed = home / "w" / "closed"
    closed.mkdir(parents=True)
    try:
        write(closed / "file", 2)
        for path in (home, home / "w", closed, closed / "file"):
            os.chown(path, 65534, 65534)
        closed.chmod(mode)
        os.seteuid(65534)
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)  # else /proc/self is root's after the change
        size = measure([home / "w"])
    finally:
        os.seteuid(0)
        subprocess.run(["rm", "-rf", str(home)], check=True, timeout=10)
    assert (size.taken > 2 * MIB, size.fault) == (True, "")


@pytest.mark.requirement("quota:ends-the-turn")
@pytest.mark.parametrize("where", ["workspaces", "runners/k/data"])
async def test_writing_past_it_ends_the_runner_with_words_that_say_how_much(tmp_path: Path, where: str) -> None:
    live = Live(tmp_path)
    async with watched(live, allowed=2):
        write(tmp_path / where / "big", 3)
        await live.ended.wait()
    message, reason = live.told
    assert reason == "quota"
    assert message.startswith("Your workspace holds 3.0 MiB; 2.0 MiB are allowed. The answer was stopped; your files")
    assert "Ask for files to be deleted" in message


@pytest.mark.requirement("quota:over-already")
async def test_who_is_over_it_already_may_go_on_but_not_grow(tmp_path: Path) -> None:
    live = Live(tmp_path)
    write(tmp_path / "workspaces" / "old", 3)
    async with watched(live, allowed=2) as looks:
        write(tmp_path / "workspaces" / "note", 0.5)
        await more(looks)
        assert not live.ended.is_set()
        write(tmp_path / "workspaces" / "more", SLACK / MIB)
        await live.ended.wait()


@pytest.mark.requirement("runners:min-free")
async def test_no_runner_starts_where_the_disk_is_nearly_full(tmp_path: Path) -> None:
    await StartChecks(tmp_path, 0)("ann")
    with pytest.raises(RunnerError, match=r"too little disk space .* GiB are free, 1e\+06 GiB are needed") as refused:
        await StartChecks(tmp_path, 1_000_000)("ann")
    assert refused.value.reason == "disk_full"


async def test_no_runner_starts_for_a_user_who_is_being_removed(tmp_path: Path) -> None:
    checks = StartChecks(tmp_path, 0)
    with checks.leaving("ann"):
        with pytest.raises(Busy, match="being removed"):
            await checks("ann")
        with pytest.raises(Busy, match="already"), checks.leaving("ann"):
            pass
        await checks("bob")
    await checks("ann")


@pytest.mark.parametrize(
    ("taken", "words"), [(0, "0 bytes"), (1536, "1.5 KiB"), (3 * MIB, "3.0 MiB"), (5 * 2**30, "5.0 GiB")]
)
def test_bytes_are_shown_for_people(taken: int, words: str) -> None:
    assert shown(taken) == words
