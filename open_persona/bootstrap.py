"""Makes ``.venv`` from a bare checkout: ``python3 -m open_persona.bootstrap``. Standard library only.

A stamp inside ``.venv`` holds a digest of what was installed, so that an unchanged checkout costs nothing. While an
install runs it says so: one that was interrupted is made anew, from what pip has downloaded already.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

from open_persona.errors import FetchFailed, OpenPersonaError
from open_persona.prerequisites import GIT, PYTHON, VENV, require
from open_persona.whole_file import replace_whole

CHECKOUT = Path(__file__).resolve().parent.parent
STAMP = "open-persona.stamp"
INSTALLING = "installing"
LOG = "open-persona-install.log"
INSTALL_DEADLINE_S = 1800


def fingerprint(checkout: Path) -> str:
    """Digest of everything that decides what belongs in ``.venv``."""
    digest = hashlib.sha256(sys.version.encode())
    digest.update(str(checkout).encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((checkout / name).read_bytes())
    return digest.hexdigest()


def is_current(checkout: Path) -> bool:
    """Whether ``.venv`` holds what the checkout asks for."""
    stamp = checkout / ".venv" / STAMP
    return stamp.is_file() and stamp.read_text() == fingerprint(checkout)


def noise_free(stderr: str) -> str:
    """pip's messages without the lines about a package location of the machine's own that does not exist."""
    ignored = ("WARNING: Location ", "WARNING: Url ", "WARNING: Ignoring ")
    kept = [line for line in stderr.splitlines() if not (line.startswith(ignored) and "file:" in line)]
    return "\n".join(kept).strip()


def _run(command: list[str], log: Path, checkout: Path) -> None:
    done = subprocess.run(  # noqa: S603 - our own interpreter and arguments
        command, cwd=checkout, capture_output=True, text=True, timeout=INSTALL_DEADLINE_S, check=False
    )
    messages = noise_free(done.stderr)
    with log.open("a") as lines:
        lines.write(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}\n")
    if done.returncode != 0:
        raise FetchFailed(f"{messages}\n\nThis step failed: {' '.join(command[1:])}\nIts full output: {log}")
    if messages:
        print(messages, file=sys.stderr)


def _has_pip(python: Path) -> bool:
    if not python.exists():
        return False
    return subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0  # noqa: S603


def _make_venv(venv: Path, log: Path, checkout: Path, *, anew: bool) -> Path:
    python = venv / "bin" / "python"
    if anew or not _has_pip(python):
        shutil.rmtree(venv, ignore_errors=True)
        venv.mkdir()
        _run([sys.executable, "-m", "venv", str(venv)], log, checkout)
    return python


def prepare(checkout: Path) -> None:
    """Brings ``.venv`` up to date.

    Raises ``ToolMissing`` or ``FetchFailed``; running it again goes on from where it stopped.
    """
    if is_current(checkout):
        return
    require([PYTHON, VENV, GIT])
    venv = checkout / ".venv"
    stamp = venv / STAMP
    interrupted = stamp.is_file() and stamp.read_text() == INSTALLING
    print("Preparing .venv (first time: about a minute) ...", end=" ", flush=True)
    started = time.monotonic()
    python = _make_venv(venv, venv / LOG, checkout, anew=interrupted)
    replace_whole(stamp, INSTALLING)
    pip = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "-c",
        "constraints.txt",
    ]
    _run([*pip, "setuptools"], venv / LOG, checkout)
    _run([*pip, "--no-build-isolation", "-e", ".[dev]"], venv / LOG, checkout)
    replace_whole(stamp, fingerprint(checkout))
    print(f"done in {time.monotonic() - started:.0f} s.", flush=True)


def main() -> int:
    """Exit code: 0 ready, 1 something is missing or failed, 130 interrupted."""
    try:
        prepare(CHECKOUT)
    except OpenPersonaError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except subprocess.TimeoutExpired as error:
        print(
            f"\nerror: no end after {INSTALL_DEADLINE_S} s: {error.cmd}. Run the same command again.", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to go on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
