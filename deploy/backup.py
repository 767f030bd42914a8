"""``deploy/backup``: all state of a compose deployment and its ``.env`` in one file, while it runs."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import datetime, timezone
from pathlib import Path

from deploy.archive import Writer
from deploy.state import ROOT, STATE_DIR, Refused, check_owner, read_env, say

SHOWN = 20
"""How many of the things that could not be read are named."""


def main(arguments: list[str]) -> Path:
    """Gives the archive's path. Raises ``Refused``."""
    parser = argparse.ArgumentParser(prog="deploy/backup", description="All state and .env in one .tar.gz.")
    parser.add_argument("file", type=Path, nargs="?", help="the archive to make; it must not be there yet")
    parser.add_argument(
        "--env-file", type=Path, default=ROOT / ".env", help="the deployment's settings (default: .env)"
    )
    asked = parser.parse_args(arguments)
    check_owner()
    now = datetime.now(timezone.utc)  # noqa: UP017 - also for Python 3.9
    target = asked.file or Path(f"open-persona-{now:%Y%m%d-%H%M%S}.tar.gz")
    named = read_env(asked.env_file).get(STATE_DIR)
    if not named or not Path(named).is_dir():
        raise Refused(f"{asked.env_file} names no state folder that is there. Run deploy/first-run first.")
    if Path(named) in Path(os.path.realpath(target)).parents:
        raise Refused(f"{target} would lie in the state folder. Take another place.")
    _write(target, Path(named), asked.env_file, now)
    return target


def _write(target: Path, state: Path, env_file: Path, now: datetime) -> None:
    scratch = target.with_name(f".{target.name}.part")
    try:
        if target.exists():
            raise FileExistsError(None, "is there already", str(target))
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            writer = Writer(file, now.isoformat(timespec="seconds"))
            writer.env(env_file)
            writer.state(state)
            count = writer.close()
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(target)
    except OSError as error:
        raise Refused(f"{error.filename or target}: {error.strerror or error}.") from None
    finally:
        scratch.unlink(missing_ok=True)
    for line in writer.left_out[:SHOWN]:
        say(f"Left out: {_plain(line)}")
    if len(writer.left_out) > SHOWN:
        say(f"Left out: {len(writer.left_out) - SHOWN} more.")
    say(f"{target}: {count} files, {target.stat().st_size / 1e6:.1f} MB. It holds all secrets: keep it to yourself.")


def _plain(text: str) -> str:
    """An agent chose the name: nothing of it may act on a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def run() -> None:
    """Exit code 1 and one line on stderr where it is refused."""
    try:
        main(sys.argv[1:])
    except Refused as error:
        sys.exit(f"backup: {error}")
