from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from sidecar.runners.process import KEEPER

LOOP = "import subprocess, sys, time; subprocess.Popen(['sleep', '1000']); print('up', flush=True); time.sleep(1000)"


async def start(*command: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(KEEPER), *command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )


async def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


async def all_gone(pids: list[int]) -> None:
    async with asyncio.timeout(10):
        while any(Path(f"/proc/{pid}").exists() and "Z" not in _state(pid) for pid in pids):
            await asyncio.sleep(0.02)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


async def running_family() -> tuple[asyncio.subprocess.Process, list[int]]:
    keeper = await start(sys.executable, "-c", LOOP)
    assert keeper.stdout is not None
    assert await asyncio.wait_for(keeper.stdout.readline(), 10) == b"up\n"
    (child,) = await children_of(keeper.pid)
    return keeper, [child, *await children_of(child)]


@pytest.mark.requirement("runner:no-orphan")
@pytest.mark.parametrize("end", ["stdin", "TERM", "KILL"])
async def test_however_the_keeper_ends_the_command_ends_too(end: str) -> None:
    keeper, family = await running_family()
    assert len(family) == 2
    if end == "stdin":
        assert keeper.stdin is not None
        keeper.stdin.close()
    else:
        os.kill(keeper.pid, getattr(signal, f"SIG{end}"))
    await all_gone(family[:1] if end == "KILL" else family)
    if end == "KILL":  # what the killed command had started is beyond reach: nobody is left to end it
        os.kill(family[1], signal.SIGKILL)
    await closed(keeper)


async def closed(keeper: asyncio.subprocess.Process) -> bytes:
    """The rest of its output, once nobody holds its pipes any more."""
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    rest = await asyncio.wait_for(keeper.stdout.read(), 10)
    await asyncio.wait_for(keeper.wait(), 10)
    keeper.stdin.close()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await keeper.stdin.wait_closed()
    return rest


async def test_the_exit_status_is_the_commands() -> None:
    keeper = await start(sys.executable, "-c", "raise SystemExit(7)")
    await closed(keeper)
    assert keeper.returncode == 7


async def test_a_missing_command_is_127() -> None:
    keeper = await start("/no/such/command")
    assert b"No such file" in await closed(keeper)
    assert keeper.returncode == 127
