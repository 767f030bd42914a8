"""Running pip of Open WebUI's environment: with progress, a deadline, a log, and an end when it is interrupted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from mcp_servers.child import Child, RestartPolicy
from open_persona.errors import FetchFailed
from open_persona.settings import PREFIX
from open_persona.webui.pip_progress import PipProgress

LOG = "open-persona-install.log"
STEP_DEADLINE_S = 7200.0
"""Of one step: some GB over a slow line."""
TELL_S = 4.0
KNOWS_RAW_PROGRESS = (24, 1)

Say = Callable[[str], None]
"""Takes one line of progress for the person at the terminal."""


def site_packages(folder: Path) -> Path:
    """Where a virtual environment keeps its packages. Raises ``FetchFailed`` where there is no such folder."""
    found = next(folder.glob("lib/python3.*/site-packages"), None)
    if found is None:
        raise FetchFailed(f"{folder} holds no Python packages. Remove that folder and run the same command again.")
    return found


@dataclass(frozen=True)
class Pip:
    """pip of the environment ``folder``; ``expected``: about how many packages it will hold."""

    folder: Path
    environment: Mapping[str, str]
    expected: int
    say: Say

    async def run(self, *arguments: str, index: SecretStr | None = None) -> None:
        """``pip <arguments>``, with the package index ``index`` in place of the user's.

        Raises ``FetchFailed`` with pip's own words. A cancelled run ends pip.
        """
        progress = PipProgress(self.expected)
        with (self.folder / LOG).open("a") as log:
            log.write(f"$ pip {' '.join(arguments)}\n")
            command = (str(self.folder / "bin" / "python"), "-P", "-m", "pip", *arguments, *self._flags())
            code = await self._follow(command, index, progress, log.write)
        if code != 0:
            raise FetchFailed(
                f"Open WebUI can't be installed. pip says:\n{progress.problem()}\n"
                "Check the network and pip's settings, then run the same command again: what was fetched is kept.\n"
                f"All of pip's output: {self.folder / LOG}"
            )

    async def _follow(
        self, command: tuple[str, ...], index: SecretStr | None, progress: PipProgress, write: Callable[[str], object]
    ) -> int | None:
        named = index.get_secret_value() if index else ""

        def take(line: str) -> None:
            shown = line.replace(named, "<the torch index>") if named else line
            if progress.line(shown):
                with contextlib.suppress(OSError):  # of a full disk, which pip will tell
                    write(f"{shown}\n")

        own = {name: value for name, value in self.environment.items() if not _withheld(name)}
        environment = own | ({"PIP_INDEX_URL": named} if named else {})
        child = Child("pip", command, environment, output=take, policy=RestartPolicy(restart=False))
        async with self._telling(progress):
            try:
                async with asyncio.timeout(STEP_DEADLINE_S):
                    await child.run()
            except TimeoutError:
                raise FetchFailed(f"pip: no end after {STEP_DEADLINE_S:g} s. Run the same command again.") from None
        return child.exit_code

    def _telling(self, progress: PipProgress) -> contextlib.AbstractAsyncContextManager[None]:
        packages = site_packages(self.folder)
        started = time.monotonic()

        def line() -> str:
            in_place = sum(1 for _ in packages.glob("*.dist-info"))
            return f"  {progress.now(in_place)} ({time.monotonic() - started:.0f} s)"

        return told_regularly(line, self.say)

    def _flags(self) -> Iterator[str]:
        yield from ("--no-input", "--disable-pip-version-check")
        if self._version() >= KNOWS_RAW_PROGRESS:
            yield from ("--progress-bar", "raw")

    def _version(self) -> tuple[int, ...]:
        found = next(site_packages(self.folder).glob("pip-*.dist-info"), None)
        numbers = found.name.removeprefix("pip-").removesuffix(".dist-info").split(".") if found else []
        return tuple(int(number) for number in numbers if number.isdigit())


@contextlib.asynccontextmanager
async def told_regularly(line: Callable[[], str], say: Say) -> AsyncIterator[None]:
    """While the block runs, ``say`` gets a fresh line every few seconds."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(TELL_S)
            say(line())

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling


def _withheld(name: str) -> bool:
    """Secrets of ours are none of pip's business, and a search path of the user's none of the environment's."""
    return name.startswith(PREFIX) or name in ("PYTHONPATH", "PYTHONHOME")
