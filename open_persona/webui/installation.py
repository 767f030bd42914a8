"""Open WebUI in a virtual environment of its own: whole, or made anew from what pip has fetched already.

A stamp in the environment's folder names that folder and holds a digest of the pins; while an install runs it says so.
One install at a time for one folder, across processes.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from mcp_servers.child import Child, RestartPolicy
from open_persona.errors import FetchFailed
from open_persona.webui.package import put_in
from open_persona.webui.pins import CONSTRAINTS, PACKAGE, pins, program
from open_persona.webui.pip_run import Pip, Say, site_packages, told_regularly
from open_persona.webui.pythons import fitting_python
from open_persona.webui.torch_build import SETTING, offered
from open_persona.whole_file import replace_whole

STAMP = "open-persona.stamp"
INSTALLING = "installing"
LOCK_POLL_S = 0.25
WAIT_DEADLINE_S = 7200.0
VENV_DEADLINE_S = 300.0
GB = 1_000_000_000
SMALL_BYTES = int(3.6 * GB)
"""What is fetched, and what that becomes on disk, with a torch for the CPU."""
CUDA_BYTES = 12 * GB


@dataclass(frozen=True)
class Installation:
    """Open WebUI in ``folder``. ``torch_index``: where torch alone comes from, if not from the user's own index."""

    folder: Path
    environment: Mapping[str, str]
    say: Say
    torch_index: SecretStr | None = None
    constraints: Path = CONSTRAINTS

    def is_whole(self) -> bool:
        """Whether the folder holds what the pins ask for, and its interpreter is still there."""
        there = all(os.access(file, os.X_OK) for file in (self.folder / "bin" / "python", program(self.folder)))
        return there and self._stamp() == self._fingerprint()

    async def prepare(self, ours: Path) -> Path:
        """Installs what is missing, puts the package ``ours`` in where it differs, and gives Open WebUI's command.

        Raises ``ToolMissing`` or ``FetchFailed``; running it again goes on.
        """
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            async with self._alone():
                if not self.is_whole():
                    await self._install()
                put_in(ours, site_packages(self.folder))
        except OSError as error:
            raise FetchFailed(f"{error.filename or self.folder}: {error.strerror or error}") from error
        return program(self.folder)

    async def _install(self) -> None:
        python = fitting_python(self.environment)
        started = time.monotonic()
        self._say_size()
        if not self._can_be_kept():
            self.say("Making the environment ...")
            await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)
            self._require_space(SMALL_BYTES)
            await self._make_venv(python)
        replace_whole(self.folder / STAMP, INSTALLING)
        try:
            await self._install_packages()
        except asyncio.CancelledError:
            self.say("Interrupted. What was fetched is kept: run the same command again to go on.")
            raise
        if not os.access(program(self.folder), os.X_OK):
            raise FetchFailed(f"{PACKAGE} brought no command {program(self.folder)}. Report this.")
        replace_whole(self.folder / STAMP, self._fingerprint())
        self.say(f"Open WebUI is installed ({time.monotonic() - started:.0f} s).")

    async def _install_packages(self) -> None:
        pinned = pins(self.constraints)
        pip = Pip(self.folder, self.environment, len(pinned), self.say)
        # Python compiles what is imported, once; all 24,000 files would take a minute or two.
        by_pins = ("install", "--no-compile", "--constraint", str(self.constraints))
        if "pip" in pinned:  # one that tells how far a file is
            await pip.run(*by_pins, "pip")
        torch = f"torch=={pinned['torch']}"
        build = await offered(pip, torch, self.torch_index)
        if build.cuda:
            self.say(f"torch {build.version} is the CUDA build: several GB. Ctrl-C and {SETTING} get the small one.")
            self._require_space(CUDA_BYTES)
        self.say(f"Fetching torch {build.version} ...")
        await pip.run(*by_pins, "--no-deps", torch, index=self.torch_index)
        self.say(f"Fetching Open WebUI {pinned[PACKAGE]} and what it needs ...")
        await pip.run(*by_pins, f"{PACKAGE}=={pinned[PACKAGE]}")

    async def _make_venv(self, python: str) -> None:
        said: list[str] = []
        command = (python, "-I", "-m", "venv", str(self.folder))
        child = Child("venv", command, output=said.append, policy=RestartPolicy(restart=False))
        try:
            async with asyncio.timeout(VENV_DEADLINE_S):
                await child.run()
        except TimeoutError:
            raise FetchFailed(f"{' '.join(command)}: no end after {VENV_DEADLINE_S:g} s. Try again.") from None
        if child.exit_code != 0:
            raise FetchFailed("\n".join([f"{' '.join(command)} {child.problem}.", *said[-5:]]))

    def _say_size(self) -> None:
        self.say(
            f"Open WebUI goes into {self.folder}: about 0.6 GB to fetch and 3 GB on disk with a torch for the CPU. "
            "The CUDA build of torch, which the package index offers by default on Linux, takes several GB more."
        )
        if not self.torch_index:
            self.say(f"For the small one set {SETTING} to an index of CPU builds; PyTorch's install page names one.")

    def _require_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder.parent).free
        if free < needed:
            raise FetchFailed(
                f"{self.folder.parent} has {free / GB:.1f} GB free, and Open WebUI needs about {needed / GB:.1f} GB. "
                "Make room there and run the same command again."
            )

    def _stamp(self) -> str:
        try:
            return (self.folder / STAMP).read_text()
        except FileNotFoundError:
            return ""

    def _fingerprint(self) -> str:
        return f"{self.folder}\n{hashlib.sha256(self.constraints.read_bytes()).hexdigest()}\n"

    def _can_be_kept(self) -> bool:
        """Whether an install can go on in the folder: not after an interrupted one, of which nobody knows which files
        are whole, and not in one that was moved, whose scripts name the old place."""
        ours = self._stamp().splitlines()[:1] == [str(self.folder)]
        return ours and os.access(self.folder / "bin" / "python", os.X_OK)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        with (self.folder.parent / f".{PACKAGE}.lock").open("a") as lock:
            if not _taken(lock.fileno()):
                await self._wait_for(lock.fileno())
            yield

    async def _wait_for(self, lock: int) -> None:
        waiting = "Another open-persona installs Open WebUI here; waiting for it ..."
        self.say(waiting)
        try:
            async with told_regularly(lambda: waiting, self.say), asyncio.timeout(WAIT_DEADLINE_S):
                while not _taken(lock):  # noqa: ASYNC110 - a lock across processes has no event
                    await asyncio.sleep(LOCK_POLL_S)
        except TimeoutError:
            raise FetchFailed("Another open-persona installs Open WebUI for hours. End it, then try again.") from None


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
