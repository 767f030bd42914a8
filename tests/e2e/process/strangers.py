"""MCP servers that nobody here wrote, from npm and PyPI, in exactly these versions, fetched into ``.tools/`` once.

What is fetched stands in a folder of its own until it is whole and is then renamed into place. The Python package gets
an environment of its own: what it needs may not fit what we need.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from open_persona.prerequisites import NPM, require
from open_persona.toolchain import tools_folder

NPM_PACKAGES: Final = {
    "@modelcontextprotocol/server-everything": "2026.8.31",
    "@modelcontextprotocol/server-filesystem": "2026.8.31",
}
PIP_PACKAGES: Final = ("mcp-server-time==2026.10.19",)
FETCH_DEADLINE_S: Final = 600


@dataclass(frozen=True)
class Strangers:
    """Where they stand."""

    folder: Path

    @property
    def python(self) -> Path:
        """The Python that has ``mcp_server_time``."""
        return self.folder / "venv" / "bin" / "python"

    def script(self, package: str) -> Path:
        """The program of an npm package, for ``node``."""
        return self.folder / "node_modules" / "@modelcontextprotocol" / package / "dist" / "index.js"


def ensure_strangers() -> Strangers:
    """The servers, fetched if they are not there. Raises CalledProcessError with what npm or pip said."""
    tools = tools_folder(Path())
    manifest = json.dumps({"name": "strangers", "private": True, "dependencies": NPM_PACKAGES}, indent=1)
    wanted = hashlib.sha256(f"{manifest}{PIP_PACKAGES}{sys.version}".encode()).hexdigest()[:12]
    target = tools / f"strangers-{wanted}"
    require([NPM])
    tools.mkdir(parents=True, exist_ok=True)
    with (tools / ".strangers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            partial = target.with_name(f".part-{target.name}")
            partial.mkdir(exist_ok=True)
            (partial / "package.json").write_text(manifest)
            quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
            _run(partial, ["npm", "install", *quiet])
            partial.rename(target)
        if not Strangers(target).python.with_name("mcp-server-time").exists():  # a venv can't be moved
            _run(target, [sys.executable, "-m", "venv", "--clear", "venv"])
            _run(target, ["venv/bin/python", "-m", "pip", "install", "--quiet", *PIP_PACKAGES])
    return Strangers(target)


def _run(folder: Path, command: Sequence[str]) -> None:
    done = subprocess.run(
        list(command),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=FETCH_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stderr or done.stdout}"
