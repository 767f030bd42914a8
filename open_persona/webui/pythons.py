"""A Python that Open WebUI runs on: this one, or another on PATH."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping

from open_persona.errors import ToolMissing
from open_persona.webui.pins import VERSION

FITTING = ((3, 11), (3, 12))
"""Minor versions that the pinned Open WebUI takes."""
LOOK_DEADLINE_S = 30
_PROBE = "import ensurepip, sys, venv; print(sys.version_info[0], sys.version_info[1])"


def fitting_python(environment: Mapping[str, str]) -> str:
    """The interpreter's path. Raises ``ToolMissing`` where none fits."""
    path = environment.get("PATH")
    others = (shutil.which(f"python{major}.{minor}", path=path) for major, minor in reversed(FITTING))
    for candidate in (sys.executable, *others):
        if candidate and _version(candidate) in FITTING:
            return candidate
    known = " or ".join(f"{major}.{minor}" for major, minor in FITTING)
    raise ToolMissing(
        f"Open WebUI {VERSION} runs on Python {known} with venv, and there is none. "
        "Install it and run the same command again. On Debian or Ubuntu: sudo apt-get install python3.11-venv"
    )


def _version(python: str) -> tuple[int, ...]:
    """Of an interpreter that can make a virtual environment; empty for one that can't or does not run."""
    try:
        done = subprocess.run(  # noqa: S603 - interpreters by their usual names
            [python, "-I", "-c", _PROBE], capture_output=True, text=True, timeout=LOOK_DEADLINE_S, check=True
        )
        return tuple(int(number) for number in done.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return ()
