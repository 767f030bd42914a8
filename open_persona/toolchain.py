"""opencode and ripgrep: where they are, and fetching them from npm into a folder of the project's own.

A program is looked for in its setting, in the tools folder and on PATH, in this order. What is fetched lands in
a temporary folder, is run once to check its version, and is then renamed into place: a folder that is there is
whole, an interrupted fetch leaves nothing behind that counts, and running again goes on.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from open_persona.errors import FetchFailed
from open_persona.platforms import Machine, opencode_package, ripgrep_package, this_machine
from open_persona.prerequisites import NPM, require

VERSION_DEADLINE_S = 60
FETCH_DEADLINE_S = 900

Say = Callable[[str], None]
"""Takes one line of progress for the person at the terminal."""


@dataclass(frozen=True)
class Tool:
    """One program. ``setting`` is the environment variable that names another copy of it.

    ``exact``: only ``version`` will do; otherwise any version on PATH is taken.
    """

    name: str
    binary: str
    version: str
    exact: bool
    setting: str
    package: Callable[[Machine], str]


OPENCODE = Tool("opencode", "opencode", "1.18.33", True, "OPEN_PERSONA_OPENCODE_BIN", opencode_package)
RIPGREP = Tool("ripgrep", "rg", "1.18.0", False, "OPEN_PERSONA_RIPGREP_BIN", ripgrep_package)
TOOLS = (OPENCODE, RIPGREP)


def tools_folder(home: Path) -> Path:
    """``.tools`` of a checkout, ``<home>/tools`` where the package is installed without one."""
    checkout = Path(__file__).resolve().parent.parent
    return checkout / ".tools" if (checkout / "pyproject.toml").is_file() else home / "tools"


def installed_path(tool: Tool, folder: Path) -> Path:
    """Where a fetched copy stands; the folder's name holds the version."""
    return folder / f"{tool.name}-{tool.version}" / tool.binary


def program_version(path: Path) -> str:
    """First line of ``<path> --version``.

    Raises ``FetchFailed`` when the program does not run.
    """
    with tempfile.TemporaryDirectory() as home:  # opencode makes its folders at every call
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": home}
        try:
            done = subprocess.run(  # noqa: S603 - a path that we resolved
                [str(path), "--version"],
                capture_output=True,
                text=True,
                timeout=VERSION_DEADLINE_S,
                env=environment,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise FetchFailed(f"{path} does not run: {error}") from error
    return (done.stdout.strip().splitlines() or [""])[0]


def find(tool: Tool, folder: Path, environment: Mapping[str, str]) -> Path | None:
    """The copy that will be used, or ``None`` when it has to be fetched first.

    Raises ``FetchFailed`` when the setting names a program that is not there.
    """
    if named := environment.get(tool.setting):
        found = shutil.which(named, path=environment.get("PATH"))
        if found is None:
            raise FetchFailed(f"{tool.setting} is {named}, and no such program is there. Correct it or unset it.")
        return Path(found).absolute()
    installed = installed_path(tool, folder)
    if os.access(installed, os.X_OK):
        return installed
    on_path = shutil.which(tool.binary, path=environment.get("PATH"))
    if on_path and (not tool.exact or _runs_as(Path(on_path), tool.version)):
        return Path(on_path).absolute()
    return None


def _runs_as(path: Path, version: str) -> bool:
    try:
        return program_version(path) == version
    except FetchFailed:
        return False


def ensure(tool: Tool, folder: Path, environment: Mapping[str, str], say: Say) -> Path:
    """The program's path, fetched if need be.

    Raises ``ToolMissing`` (no npm, no build for this machine) or ``FetchFailed``.
    """
    if (found := find(tool, folder, environment)) is not None:
        return found
    require([NPM])
    package = tool.package(this_machine())
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder):
        target = installed_path(tool, folder)
        if not os.access(target, os.X_OK):
            say(f"Fetching {tool.name} ({package} {tool.version}) from npm ...")
            started = time.monotonic()
            _fetch(tool, package, folder, target.parent)
            say(f"Fetched {tool.name} in {time.monotonic() - started:.0f} s.")
    return target


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """One fetch at a time for one folder, across processes; left-overs of interrupted ones are removed."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in folder.glob(".fetch-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def _fetch(tool: Tool, package: str, folder: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder, ignore_cleanup_errors=True) as scratch:
        _npm_install(f"{package}@{tool.version}", Path(scratch))
        binary = Path(scratch) / "node_modules" / package / "bin" / tool.binary
        if not binary.is_file():
            raise FetchFailed(f"{package}@{tool.version} holds no {tool.binary}. Report this; nothing was installed.")
        binary.chmod(0o755)
        version = program_version(binary)
        if tool.exact and version != tool.version:
            raise FetchFailed(f"{package}@{tool.version} says it is {version!r}. Nothing was installed.")
        shutil.rmtree(target, ignore_errors=True)
        binary.parent.rename(target)


def _npm_install(spec: str, prefix: Path) -> None:
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--no-update-notifier", "--loglevel=error"]
    try:
        done = subprocess.run(  # noqa: S603
            ["npm", "install", "--prefix", str(prefix), *quiet, spec],  # noqa: S607
            cwd=prefix,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FetchFailed(
            f"npm install {spec}: no end after {FETCH_DEADLINE_S} s. Run the same command again."
        ) from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        advice = "Check the network and npm's settings, then run the same command again."
        raise FetchFailed(f"npm install {spec} failed:\n{said}\n{advice}")


@dataclass(frozen=True)
class Toolchain:
    """The programs that the sidecar needs, as absolute paths."""

    opencode: Path
    ripgrep: Path

    def environment(self) -> dict[str, str]:
        """The settings that tell the sidecar where they are."""
        return {OPENCODE.setting: str(self.opencode), RIPGREP.setting: str(self.ripgrep)}


def ensure_all(home: Path, environment: Mapping[str, str], say: Say) -> Toolchain:
    """Both programs, fetched if need be. Errors as in :func:`ensure`."""
    folder = tools_folder(home)
    try:
        paths = [ensure(tool, folder, environment, say) for tool in TOOLS]
    except OSError as error:
        raise FetchFailed(f"{folder}: {error}") from error
    return Toolchain(opencode=paths[0], ripgrep=paths[1])
