"""Programs under the launcher as people run it: their log, their end with it, change and removal of the folder."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.mcp_servers.eventually import eventually
from tests.mcp_servers.mcp_session import connected, text_of
from tests.mcp_servers.stdio.bridged import TOKEN, write_command
from tests.mcp_servers.test_child import alive
from tests.mcp_servers.test_launcher import answers, comes_up, free_port, launched, write_integration

pytestmark = pytest.mark.real


async def call(port: int, tool: str, arguments: dict[str, Any] | None = None) -> Any:
    async with connected(f"http://127.0.0.1:{port}") as client:
        await client.list_tools()  # which the client would do after the call otherwise
        result = await client.call_tool(tool, arguments or {})
    assert not result.is_error, text_of(result)
    return json.loads(text_of(result))


@pytest.mark.requirement("stdio:redaction")
async def test_a_folder_with_a_manifest_alone_is_served_and_its_log_has_its_name(tmp_path: Path) -> None:
    port = free_port()
    write_command(tmp_path, port=port)
    async with launched(tmp_path) as running:
        await comes_up(port)
        assert await call(port, "shout", {"words": "hear me"}) == "shouted"
        pid = (await call(port, "whoami"))["pid"]
        await eventually(lambda: running.said(f"[strange] {pid}: hear me"))
        assert running.process.returncode is None
    assert running.process.returncode == 0
    assert not alive(pid)


@pytest.mark.requirement("stdio:no-orphans")
@pytest.mark.parametrize("victim", ["launcher", "bridge"])
async def test_a_kill_leaves_neither_programs_nor_their_children(tmp_path: Path, victim: str) -> None:
    port = free_port()
    write_command(tmp_path, port=port)
    async with launched(tmp_path) as running:
        await comes_up(port)
        family = await call(port, "family")
        home = Path((await call(port, "whoami"))["cwd"])
        assert all(map(alive, family))
        [bridge] = running.pids("strange")
        os.kill(running.process.pid if victim == "launcher" else bridge, signal.SIGKILL)
        await eventually(lambda: not any(map(alive, family)), what="the whole family dies")
        await eventually(lambda: not alive(bridge))
        await eventually(lambda: not home.exists(), what="its folder goes, too")


@pytest.mark.requirement("launcher:drain")
async def test_a_removed_folder_ends_once_its_calls_are_answered(tmp_path: Path) -> None:
    port = free_port()
    folder = write_command(tmp_path, port=port)
    async with launched(tmp_path) as running:
        await comes_up(port)
        pid = (await call(port, "whoami"))["pid"]
        calling = asyncio.create_task(call(port, "sleep", {"seconds": 3}))
        await eventually(lambda: running.said(f"{pid}: sleeping"))
        (folder / "manifest.yaml").unlink()
        assert await calling == "slept"
        await eventually(lambda: running.said("strange: stopped"))
        assert not alive(pid)


@pytest.mark.requirement("launcher:new-folder")
async def test_a_changed_manifest_restarts_that_server_alone(tmp_path: Path) -> None:
    port, other = free_port(), write_integration(tmp_path, "alpha")
    write_command(tmp_path, port=port)
    async with launched(tmp_path) as running:
        await asyncio.gather(comes_up(port), comes_up(other))
        before = (await call(port, "whoami"))["pid"]
        write_command(tmp_path, [TOKEN], "{token}", port=port)
        await eventually(lambda: running.said("not started", "'token' is a secret"))
        assert (await call(port, "whoami"))["pid"] == before, "a broken edit changes nothing"
        write_command(tmp_path, (), "now", port=port)
        await eventually(lambda: len(running.pids("strange")) == 2)
        await comes_up(port)
        after = await call(port, "whoami")
        assert (after["argv"], alive(before)) == (["now"], False)
        assert len(running.pids("alpha")) == 1
        assert await answers(other)
