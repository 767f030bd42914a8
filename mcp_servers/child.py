"""One child process that is kept running: restarted when it ends, stopped when asked, gone when its parent is gone."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

logger = logging.getLogger(__name__)

ChildState = Literal["new", "running", "backoff", "stopping", "stopped"]
"""``backoff``: it ended or could not be started, and waits for its next start. ``stopped`` is final."""

_LINE_LIMIT = 8192
_PR_SET_PDEATHSIG = 1
# Loaded before any fork: a freshly forked process must not import or allocate much.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class RestartPolicy:
    """Seconds. The delay doubles from ``first_delay_s`` to ``longest_delay_s``, and starts over after a run of
    ``stable_after_s``. ``stop_grace_s`` lies between SIGTERM and SIGKILL. With ``restart`` off the first end is final.
    """

    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0
    stable_after_s: float = 10.0
    stop_grace_s: float = 7.0
    restart: bool = True


class Child:
    """Runs ``command`` in a process group of its own; ``env`` replaces the parent's environment (None: the same one).

    ``on_change`` is called after every change of ``state``; ``output`` gets each line that the process writes, without
    its end (by default it goes to stderr with ``[name]`` in front). Both must be quick and must not raise.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        on_change: Callable[[Child], None] | None = None,
        output: Callable[[str], None] | None = None,
        cwd: Path | None = None,
        policy: RestartPolicy | None = None,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.policy = policy or RestartPolicy()
        self.state: ChildState = "new"
        self.pid: int | None = None
        self.starts = 0
        self.exit_code: int | None = None
        """Status of the last run that ended, negative for a signal; None before, and where no start was possible."""
        self.problem = ""
        """Why the last run ended or could not begin, in one line."""
        self.retry_in_s = 0.0
        self._env = None if env is None else dict(env)
        self._cwd = cwd
        self._on_change = on_change
        self._output = output or self._to_stderr
        self._stop = asyncio.Event()
        self._done = asyncio.Event()
        self._done.set()

    async def run(self) -> None:
        """Keep the process running until ``stop`` is called; a cancelled ``run`` stops it too. Can be called once."""
        if self.state != "new":
            raise RuntimeError(f"child {self.name} has already been run")
        self._done.clear()
        failures = 0
        try:
            while not self._stop.is_set():
                lasted = await self._run_once()
                if self._stop.is_set() or not self.policy.restart:
                    break
                failures = 1 if lasted >= self.policy.stable_after_s else failures + 1
                await self._wait_before_restart(failures)
        finally:
            self._enter("stopped")
            self._done.set()

    async def stop(self) -> None:
        """SIGTERM to the group, SIGKILL after the grace period; returns when nothing of it is left."""
        self._stop.set()
        await self._done.wait()

    async def _wait_before_restart(self, failures: int) -> None:
        delay = min(self.policy.longest_delay_s, self.policy.first_delay_s * 2.0 ** min(failures - 1, 20))
        self.retry_in_s = delay
        self._enter("backoff")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._stop.wait()

    async def _run_once(self) -> float:
        """One life of the process; gives how many seconds it lasted."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        self.starts += 1
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                env=self._env,
                cwd=self._cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with(os.getpid()),
            )
        except (OSError, ValueError) as error:
            self.exit_code, self.problem = None, f"cannot be started: {error}"
            return 0.0
        self.pid = process.pid
        self._enter("running")
        reading = asyncio.create_task(self._read(process), name=f"output of {self.name}")
        try:
            await self._until_over(process)
        finally:
            await self._end(process, reading)
        self.exit_code = process.returncode
        self.problem = how_it_ended(process.returncode)
        return clock() - begun

    async def _until_over(self, process: asyncio.subprocess.Process) -> None:
        over = asyncio.create_task(process.wait())
        asked = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({over, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            asked.cancel()

    async def _end(self, process: asyncio.subprocess.Process, reading: asyncio.Task[None]) -> None:
        """The process and all that it started are gone afterwards, also when this is cancelled halfway."""
        try:
            if process.returncode is None:
                self._enter("stopping")
                signal_group(process.pid, signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.policy.stop_grace_s):
                        await process.wait()
        finally:
            signal_group(process.pid, signal.SIGKILL)
            self.pid = None
            await asyncio.shield(process.wait())
            await asyncio.wait({reading}, timeout=1)
            reading.cancel()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        rest = b""
        while chunk := await process.stdout.read(_LINE_LIMIT):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LINE_LIMIT:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._output(line.decode(errors="replace").rstrip("\r"))
        if rest:
            self._output(rest.decode(errors="replace"))

    def _to_stderr(self, line: str) -> None:
        sys.stderr.write(f"[{self.name}] {line}\n")
        sys.stderr.flush()

    def _enter(self, state: ChildState) -> None:
        self.state = state
        if self._on_change is not None:
            self._on_change(self)


def how_it_ended(returncode: int | None) -> str:
    """In words that follow a name: \"ended with status 1\"."""
    if returncode is None:
        return "is still there"
    if returncode < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-returncode).name}"
    return f"ended with status {returncode}"


def signal_group(pid: int, number: signal.Signals) -> None:
    """To every process of the group, if there still is one."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def die_with(parent: int) -> Callable[[], None] | None:
    """Runs in the new process: Linux kills it when the parent dies, however that happens."""
    libc = _LIBC
    if libc is None:
        return None

    def before_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return before_exec
