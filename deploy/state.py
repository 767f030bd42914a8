"""The state folder of a compose deployment, and ``.env``, which names it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OWNER = 1000
"""User and group of every service."""

FOLDERS = ("data", "hub", "open-webui", "secrets")
"""``data`` is the sidecar's ``OPEN_PERSONA_HOME``, the next two are what the hub and Open WebUI keep."""

USER_FOLDERS = (Path("data") / "workspaces", Path("data") / "runners", Path("open-webui") / "uploads")
"""What users and their agents can write to, below the state folder."""

STATE_DIR = "OPEN_PERSONA_STATE_DIR"
DATABASE = Path("open-webui") / "webui.db"
WEBUI_SECRET_KEY = "WEBUI_SECRET_KEY"  # noqa: S105 - a file's name
MADE = ("OPEN_PERSONA_SIDECAR_API_KEY", "OPEN_PERSONA_SERVICE_KEY", "OPEN_PERSONA_TOKEN_KEY", WEBUI_SECRET_KEY)
"""Secrets that are made here."""

GIVEN = (
    "OPEN_PERSONA_DEFAULT_OPENAI_API_KEY",
    "OPEN_PERSONA_DEFAULT_ANTHROPIC_API_KEY",
    "OPEN_PERSONA_DEFAULT_OPENROUTER_API_KEY",
    "OPEN_PERSONA_DEFAULT_COMPATIBLE_API_KEY",
    "WEBUI_ADMIN_PASSWORD",
)
"""Secrets that the operator may have; empty without."""


class Refused(Exception):
    """What was asked is not done; the text says why and what to do."""


def read_env(file: Path) -> dict[str, str]:
    """The variables of an env file, empty where there is none."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Refused(f"{file} can't be read: {error.strerror}.") from None
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def default_state_dir(environment: Mapping[str, str]) -> Path:
    """For root a folder of the system, else one in the user's data directory."""
    if os.geteuid() == 0:
        return Path("/var/lib/open-persona")
    data = environment.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "open-persona-compose"


def checked_state_dir(folder: Path) -> Path:
    """``folder``, if the containers can use it. Raises ``Refused``."""
    if not folder.is_absolute():
        raise Refused(f"The state folder has to be an absolute path, not {folder}.")
    real = Path(os.path.realpath(folder))
    if any(character in str(real) for character in ":$\"' \n\t,"):
        raise Refused(f"{real} can't be named in docker-compose.yml: take a path without blanks, quotes, ':' or '$'.")
    if Path("/root") in (real, *real.parents):
        raise Refused(
            f"{real} lies in /root, which user {OWNER} can't pass in a container. Take /var/lib/open-persona."
        )
    tree = next((above for above in (real, *real.parents) if os.path.lexists(above / ".git")), None)
    if tree is not None:
        raise Refused(f"{real} lies in the git work tree {tree}, where secrets and chats could be committed.")
    return real


def check_owner() -> None:
    """Raises ``Refused`` for somebody who can't make files of the services' user."""
    if os.geteuid() not in (0, OWNER):
        raise Refused(f"The services run as user {OWNER}: run this as that user or with sudo.")


def check_readable(folder: Path) -> None:
    """Raises ``Refused`` unless the services' user can read all of ``folder``. A clone of a careful root is closed."""
    if not folder.is_dir():
        raise Refused(f"There is no folder {folder}.")
    for path in (folder, *(path for path in folder.rglob("*") if path.exists() and "__pycache__" not in path.parts)):
        status = path.stat()
        wanted = (0o5 if path.is_dir() else 0o4) << (6 if status.st_uid == OWNER else 0)
        if status.st_mode & wanted != wanted:
            raise Refused(f"The services' user {OWNER} can't read {path}. Run: chmod -R a+rX {folder}")


def give(path: Path, mode: int) -> None:
    """To the services' user, with ``mode``."""
    if os.geteuid() == 0:
        os.chown(path, OWNER, OWNER)
    path.chmod(mode)


def make_folders(state: Path) -> None:
    """The state folder and what is in it, for the services' user alone."""
    state.parent.mkdir(parents=True, exist_ok=True)
    for folder in (state, *(state / name for name in FOLDERS)):
        folder.mkdir(exist_ok=True)
        give(folder, 0o700)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
