"""``deploy/restore``: a backup into an empty place. All of it is verified before anything is written."""

from __future__ import annotations

import argparse
import os
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

from deploy.archive import ENV, STATE, after_format, read_format, verify
from deploy.state import (
    FOLDERS,
    OWNER,
    ROOT,
    STATE_DIR,
    Refused,
    check_owner,
    checked_state_dir,
    give,
    make_folders,
    say,
)


def main(arguments: list[str], environment: Mapping[str, str]) -> Path:
    """Gives the state folder. Raises ``Refused``."""
    parser = argparse.ArgumentParser(prog="deploy/restore", description="Restores a backup into an empty place.")
    parser.add_argument("file", type=Path, help="what deploy/backup made")
    parser.add_argument("--env-file", type=Path, default=ROOT / ".env", help="where the settings go (default: .env)")
    parser.add_argument("--state-dir", type=Path, help="another state folder than the one of the backup")
    asked = parser.parse_args(arguments)
    check_owner()
    if asked.env_file.exists():
        raise Refused(
            f"{asked.env_file} is there: a deployment is never overwritten. Move it and its state away first."
        )
    verify(asked.file)
    settings = _settings(asked.file)
    state = checked_state_dir(asked.state_dir or Path(_named(settings)))
    if state.exists() and any(state.iterdir()):
        raise Refused(f"{state} is not empty: nothing is overwritten. Move it away, or name another with --state-dir.")
    make_folders(state)
    _extract(asked.file, state)
    _write_settings(asked.env_file, settings, state, environment)
    say(
        f"Restored to {state}, with the settings in {asked.env_file}. Next: deploy/first-run, then docker compose up -d"
    )
    return state


def _settings(file: Path) -> str:
    with tarfile.open(file, "r:gz") as archive:
        member = archive.extractfile(ENV)
        return member.read().decode() if member else ""


def _named(settings: str) -> str:
    return next((line.partition("=")[2] for line in settings.splitlines() if line.startswith(f"{STATE_DIR}=")), "")


def _extract(file: Path, state: Path) -> None:
    """Files with their modes, all of the services' user; folders get their modes last."""
    folders: list[tuple[Path, int]] = []
    with tarfile.open(file, "r|gz") as archive:
        read_format(archive, file)
        for member in after_format(archive):
            parts = Path(member.name).parts
            if parts[0] != STATE or len(parts) == 1:
                continue
            path = state.joinpath(*parts[1:])
            if not path.parent.resolve().is_relative_to(state):
                raise Refused(f"The archive puts {member.name!r} behind a link. Nothing more is restored from it.")
            if path.is_symlink():
                raise Refused(f"The archive holds {member.name!r} twice. Nothing more is restored from it.")
            if member.isdir():
                path.mkdir(exist_ok=True)
                folders.append((path, member.mode))
            elif member.issym():
                path.symlink_to(member.linkname)
            else:
                _write(archive, member, path)
            _own(path)
    for path, mode in reversed(folders):
        path.chmod(mode & 0o777)
    for name in FOLDERS:
        give(state / name, 0o700)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    source = archive.extractfile(member)
    assert source is not None
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as target:
        while chunk := source.read(1 << 20):
            target.write(chunk)
    path.chmod(member.mode & 0o777)


def _own(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, OWNER, OWNER, follow_symlinks=False)


def _write_settings(file: Path, settings: str, state: Path, environment: Mapping[str, str]) -> None:
    """The old settings with this place's paths; the group of Docker's socket is another on another machine."""
    socket = Path(environment.get("OPEN_PERSONA_DOCKER_SOCKET") or "/var/run/docker.sock")
    here = {STATE_DIR: str(state)}
    if socket.exists():
        here["OPEN_PERSONA_DOCKER_GID"] = str(socket.stat().st_gid)
    kept = [line for line in settings.splitlines() if line.partition("=")[0] not in here]
    file.write_text("\n".join([*kept, *(f"{name}={value}" for name, value in here.items())]) + "\n")


def run() -> None:
    """Exit code 1 and one line on stderr where it is refused."""
    try:
        main(sys.argv[1:], dict(os.environ))
    except Refused as error:
        sys.exit(f"restore: {error}")
