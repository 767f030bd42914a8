"""The judges of the MCP endpoints: the official conformance suite, the Inspector and the TypeScript SDK, and a node.

They come from npm into ``.tools/`` of the checkout, in exactly these versions. What is fetched stands in a folder
of its own until it is whole and is then renamed into place; an interrupted fetch is taken up where it was left.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from open_persona.prerequisites import NPM, require
from open_persona.toolchain import tools_folder

Say = Callable[[str], None]
"""Takes one line of progress."""

PACKAGES: Final[Mapping[str, str]] = {
    "node": "24.21.0",
    "@modelcontextprotocol/conformance": "0.2.0-alpha.12",
    "@modelcontextprotocol/inspector": "2.12.0",
    "@modelcontextprotocol/sdk": "1.32.2",
}
FETCH_DEADLINE_S: Final = 900
QUIET: Final = ("--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")


class JudgesMissing(Exception):
    """npm could not fetch them; the message holds what npm said and what to do."""


@dataclass(frozen=True)
class Judges:
    """Where they stand. ``folder`` holds ``node_modules``: a script in it can import the SDK."""

    folder: Path

    @property
    def node(self) -> Path:
        return self.folder / "node_modules" / "node" / "bin" / "node"

    @property
    def conformance(self) -> Path:
        return self.folder / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"

    @property
    def inspector(self) -> Path:
        package = self.folder / "node_modules" / "@modelcontextprotocol" / "inspector"
        return package / "clients" / "launcher" / "build" / "index.js"


def ensure_judges(say: Say, folder: Path | None = None) -> Judges:
    """The judges, fetched if they are not there. Raises ``JudgesMissing``, and ``ToolMissing`` without npm."""
    tools = folder or tools_folder(Path())
    manifest = json.dumps({"name": "judges", "private": True, "dependencies": dict(PACKAGES)}, indent=1)
    target = tools / f"judges-{hashlib.sha256(manifest.encode()).hexdigest()[:12]}"
    if target.is_dir():
        return Judges(target)
    require([NPM])
    tools.mkdir(parents=True, exist_ok=True)
    with _only_one(tools):
        if not target.is_dir():
            _fetch(manifest, target.with_name(f".part-{target.name}"), target, say)
    return Judges(target)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    with (folder / ".judges.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(manifest: str, partial: Path, target: Path, say: Say) -> None:
    partial.mkdir(exist_ok=True)
    (partial / "package.json").write_text(manifest)
    started = time.monotonic()
    say(f"Fetching {len(PACKAGES)} packages of judges from npm (about 330 MB on disk) ...")
    _npm(partial, "install", "--ignore-scripts")
    say("Fetching node's binary ...")
    _npm(partial, "rebuild", "node")  # the package's own script fetches the binary for this machine
    judges = Judges(partial)
    for path in (judges.node, judges.conformance, judges.inspector):
        if not path.is_file():
            raise JudgesMissing(f"npm installed no {path.name}. Remove {partial} and run the same command again.")
    partial.rename(target)
    say(f"Fetched the judges in {time.monotonic() - started:.0f} s.")


def _npm(folder: Path, *command: str) -> None:
    try:
        done = subprocess.run(
            ["npm", *command, *QUIET],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise JudgesMissing(f"npm {command[0]}: no end after {FETCH_DEADLINE_S} s. Run the same again.") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise JudgesMissing(f"npm {' '.join(command)} failed:\n{said}\nCheck the network and npm's settings.")
