"""Programs that must be on the machine already, and how to get each.

Standard library only: it runs before there is a ``.venv``.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from open_persona.errors import ToolMissing

OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Prerequisite:
    """One program: what it is for, the Debian package that has it, and how to see that it is there."""

    name: str
    purpose: str
    debian: str
    present: Callable[[], bool]


def _on_path(program: str) -> Callable[[], bool]:
    return lambda: shutil.which(program) is not None


def _venv_works() -> bool:
    # Debian ships venv without ensurepip until python3-venv is installed.
    return importlib.util.find_spec("venv") is not None and importlib.util.find_spec("ensurepip") is not None


PYTHON = Prerequisite("Python 3.11 or newer", "runs everything", "python3", lambda: sys.version_info >= OLDEST_PYTHON)
VENV = Prerequisite("python3-venv", "makes .venv", "python3-venv", _venv_works)
GIT = Prerequisite("git", "is used by the tests and by opencode", "git", _on_path("git"))
NPM = Prerequisite("npm", "fetches opencode and ripgrep", "npm", _on_path("npm"))


def require(prerequisites: Iterable[Prerequisite]) -> None:
    """Returns when all are there.

    Raises ``ToolMissing`` that names every missing one at once, with the command that installs them.
    """
    missing = [tool for tool in prerequisites if not tool.present()]
    if not missing:
        return
    lines = [f"{tool.name} is missing ({tool.purpose})." for tool in missing]
    packages = " ".join(tool.debian for tool in missing)
    lines.append(f"Install it and run the same command again. On Debian or Ubuntu: sudo apt-get install {packages}")
    raise ToolMissing("\n".join(lines))
