"""A real opencode that writes past its quota, and a disk that has no room for a runner or for what is noted."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from sidecar.identity import workspace_hash
from tests.e2e.process.deployment import Deployment, running_deployment
from tests.fakes.provider import Reply, ToolCall

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
ANN = workspace_hash("ann")
LATEST_S = 6.0
"""The interval of 2 s, the look itself, and the end of opencode, on a busy machine."""
BIG = "x" * 2**20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with running_deployment(
        tmp_path_factory.mktemp("quota"), workspace_quota_mb=9, process_shared=True
    ) as running:
        yield running


def writes(*names: str) -> Reply:
    return Reply(tools=[ToolCall("write", {"filePath": name, "content": BIG}) for name in names])


@pytest.mark.requirement("quota:ends-the-turn")
async def test_a_turn_that_fills_the_disk_is_ended_and_told_and_others_go_on(deployment: Deployment) -> None:
    await deployment.chat("hello", user="bob")
    deployment.provider.script([writes("one.txt", "two.txt"), Reply(stall="start")])
    answer = await deployment.chat("write a lot", chat="c", answer="a1")
    assert time.monotonic() - deployment.provider.requests[-1].at < LATEST_S  # asked again once both were written
    assert (answer.error["code"], answer.terminals, answer.done) == ("quota", ["stop"], 1)
    assert "9.0 MiB are allowed" in str(answer.error["message"])
    workspace = deployment.home / "workspaces" / ANN
    assert [(workspace / name).stat().st_size for name in ("one.txt", "two.txt")] == [len(BIG)] * 2
    await deployment.idle()
    ended = [live for live in deployment.services.turns.pool.live if live.spec.workspace_hash == ANN]
    assert all(live.gone.is_set() for live in ended)
    deployment.provider.script("still here")
    assert (await deployment.chat("hello again", user="bob")).text == "still here"


@pytest.mark.requirement("quota:over-already")
async def test_who_is_over_it_can_have_files_emptied(deployment: Deployment) -> None:
    emptied = [ToolCall("write", {"filePath": name, "content": ""}) for name in ("one.txt", "two.txt")]
    read = [ToolCall("read", {"filePath": name}) for name in ("one.txt", "two.txt")]
    deployment.provider.script([Reply(tools=read), Reply(tools=emptied), "done"])
    assert (await deployment.chat("empty them")).text == "done"
    assert (deployment.home / "workspaces" / ANN / "one.txt").stat().st_size == 0


@pytest.mark.requirement("runners:min-free")
async def test_no_runner_starts_where_the_disk_is_nearly_full(tmp_path: Path) -> None:
    async with running_deployment(tmp_path, min_free_gb=1_000_000) as deployment:
        answer = await deployment.chat("hello")
        assert (answer.error["code"], answer.terminals) == ("disk_full", ["stop"])
        assert "too little disk space" in str(answer.error["message"])
        assert deployment.services.turns.pool.live == ()


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "open-persona-test", str(folder)]
    subprocess.run(mount, check=True, timeout=10)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=10)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
@pytest.mark.requirement("store:full-disk")
@pytest.mark.requirement("store:failure-costs-no-answer")
async def test_answers_are_given_while_the_database_has_no_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "sidecar.db").symlink_to(disk / "sidecar.db")
        async with running_deployment(tmp_path) as deployment:
            await deployment.chat("my dog is Rex", chat="c", answer="a1")
            with contextlib.suppress(OSError), (disk / "hog").open("wb", buffering=0) as hog:
                while True:
                    hog.write(b"x" * 1024)
            for number in range(100):
                assert (await deployment.chat("hello", chat="c", answer=f"b{number}", parent="a1")).text == "hello"
                if "could not be noted" in caplog.text:
                    break
            assert "an answer could not be noted" in caplog.text
            (disk / "hog").unlink()
            await deployment.chat("what is it called?", chat="c", answer="a2", parent="a1")
            assert deployment.provider.requests[-1].user_texts == ["my dog is Rex", "what is it called?"]
        connection = sqlite3.connect(disk / "sidecar.db")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM answers WHERE answer = 'a2'").fetchone() == (1,)
        connection.close()
