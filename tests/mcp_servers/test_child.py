"""One child process: restarts, back-off, an end that leaves nothing behind. With real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mcp_servers.child import Child, ChildState, RestartPolicy
from tests.mcp_servers.eventually import eventually

QUICK = RestartPolicy(first_delay_s=0.01, longest_delay_s=0.04, stable_after_s=60, stop_grace_s=0.5)


class Watched:
    """A child together with what it said and went through."""

    def __init__(self, command: Sequence[str], policy: RestartPolicy = QUICK, **env: str) -> None:
        self.states: list[ChildState] = []
        self.delays: list[float] = []
        self.lines: list[str] = []
        self.child = Child(
            "demo",
            command,
            {**os.environ, **env},
            on_change=self._changed,
            output=self.lines.append,
            policy=policy,
        )

    def _changed(self, child: Child) -> None:
        self.states.append(child.state)
        if child.state == "backoff":
            self.delays.append(child.retry_in_s)


@asynccontextmanager
async def running(watched: Watched) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(watched.child.run())
    try:
        yield task
    finally:
        async with asyncio.timeout(10):
            await watched.child.stop()
            await asyncio.wait({task})


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def alive(pid: int) -> bool:
    """Whether the process still runs; one that ended but has not been collected does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in {"Z", "X"}
    except OSError:
        return False


SLEEP = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
WITH_GRANDCHILD = (
    "import subprocess, sys, time\n"
    "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "print(p.pid, flush=True)\n"
)


@pytest.mark.requirement("child:restart")
async def test_a_crashed_process_comes_back_with_growing_delays() -> None:
    watched = Watched(python("raise SystemExit(3)"))
    async with running(watched):
        await eventually(lambda: len(watched.delays) >= 4)
    assert watched.delays[:4] == [0.01, 0.02, 0.04, 0.04]
    assert watched.child.exit_code == 3
    assert watched.child.problem == "ended with status 3"
    assert watched.states[:4] == ["running", "backoff", "running", "backoff"]
    assert watched.states[-1] == "stopped"


async def test_a_stable_run_starts_the_delays_over() -> None:
    watched = Watched(python("raise SystemExit(3)"), RestartPolicy(0.01, 0.04, stable_after_s=0.0, stop_grace_s=0.5))
    async with running(watched):
        await eventually(lambda: len(watched.delays) >= 3)
    assert set(watched.delays) == {0.01}


async def test_without_restart_the_first_end_is_final() -> None:
    watched = Watched(python("print('done')"), RestartPolicy(restart=False))
    async with running(watched) as task, asyncio.timeout(10):
        await task
    assert watched.states == ["running", "stopped"]
    assert watched.lines == ["done"]
    assert watched.child.exit_code == 0


async def test_a_command_that_is_not_there_is_told_and_tried_again() -> None:
    watched = Watched(["/nonexistent/program"])
    async with running(watched):
        await eventually(lambda: watched.child.starts >= 2)
    assert "cannot be started" in watched.child.problem
    assert watched.child.exit_code is None


@pytest.mark.requirement("child:stop")
async def test_stop_ends_a_polite_process_with_sigterm() -> None:
    watched = Watched(python(SLEEP))
    async with running(watched):
        await eventually(lambda: watched.lines == ["up"])
        pid = watched.child.pid
        assert pid is not None
    assert watched.child.exit_code == -signal.SIGTERM
    assert watched.child.problem == "was ended by SIGTERM"
    assert not alive(pid)
    assert watched.states == ["running", "stopping", "stopped"]


@pytest.mark.requirement("child:stop")
async def test_stop_kills_a_process_that_ignores_sigterm() -> None:
    watched = Watched(python(STUBBORN))
    async with running(watched):
        await eventually(lambda: watched.lines == ["up"])
    assert watched.child.exit_code == -signal.SIGKILL


async def test_cancelling_run_stops_the_process_too() -> None:
    watched = Watched(python(SLEEP))
    task = asyncio.create_task(watched.child.run())
    await eventually(lambda: watched.lines == ["up"])
    pid = watched.child.pid
    assert pid is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(pid)
    assert watched.child.state == "stopped"


async def test_stop_during_the_delay_and_before_the_start_returns_at_once() -> None:
    watched = Watched(python("raise SystemExit(1)"), RestartPolicy(first_delay_s=3600, longest_delay_s=3600))
    async with running(watched):
        await eventually(lambda: watched.child.state == "backoff")
    fresh = Watched(python(SLEEP))
    await fresh.child.stop()
    await fresh.child.run()
    assert fresh.child.starts == 0


@pytest.mark.parametrize("ending", ["time.sleep(60)", "sys.exit(1)"])
async def test_what_the_process_started_goes_with_it(ending: str) -> None:
    watched = Watched(python(WITH_GRANDCHILD + ending), RestartPolicy(first_delay_s=3600, longest_delay_s=3600))
    async with running(watched):
        await eventually(lambda: len(watched.lines) == 1)
    grandchild = int(watched.lines[0])
    await eventually(lambda: not alive(grandchild), what="the grandchild ends")


async def test_output_comes_line_by_line_whatever_its_shape() -> None:
    code = (
        "import sys; o = sys.stdout.buffer\n"
        "o.write(b'one\\r\\n\\xff\\n' + b'x' * 20000 + b'\\n'); o.flush()\n"
        "sys.stderr.write('last without end')"
    )
    watched = Watched(python(code), RestartPolicy(restart=False))
    async with running(watched) as task, asyncio.timeout(10):
        await task
    assert watched.lines[:2] == ["one", "\ufffd"]
    assert "".join(watched.lines[2:-1]) == "x" * 20000
    assert watched.lines[-1] == "last without end"


async def test_the_environment_is_exactly_what_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    command = python("import os; print(sorted(k for k in os.environ if k.startswith('OPEN_')))")
    child = Child("shown", command, {"OPEN_A": "1"}, policy=RestartPolicy(restart=False))
    await child.run()
    assert capsys.readouterr().err == "[shown] ['OPEN_A']\n"


@pytest.mark.requirement("child:dies-with-parent")
async def test_a_killed_parent_leaves_no_child(tmp_path: Path) -> None:
    parent = (
        "import asyncio, sys\n"
        "from mcp_servers.child import Child\n"
        f"child = Child('inner', [sys.executable, '-c', {SLEEP!r}], output=lambda line: None,\n"
        "    on_change=lambda c: c.pid and print(c.pid, flush=True))\n"
        "asyncio.run(child.run())\n"
    )
    watched = Watched(
        python(parent), RestartPolicy(first_delay_s=3600, longest_delay_s=3600), PYTHONPATH=str(Path.cwd())
    )
    async with running(watched):
        await eventually(lambda: len(watched.lines) == 1)
        inner = int(watched.lines[0])
        assert watched.child.pid is not None
        assert alive(inner)
        os.kill(watched.child.pid, signal.SIGKILL)
        await eventually(lambda: not alive(inner), what="the inner child dies with its parent")
