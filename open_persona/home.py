"""Where Open Persona keeps its state: ``OPEN_PERSONA_HOME``, never inside a git work tree."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from open_persona.errors import HomeRefused

HOME_SETTING = "OPEN_PERSONA_HOME"


def home_folder(environment: Mapping[str, str]) -> Path:
    """``OPEN_PERSONA_HOME``, else ``open-persona`` in the user's data directory. Absolute; not created."""
    if named := environment.get(HOME_SETTING):
        try:
            return Path(named).expanduser().absolute()
        except RuntimeError:
            raise HomeRefused(f"{HOME_SETTING}={named}: there is no such user.") from None
    data = environment.get("XDG_DATA_HOME") or str(Path(environment.get("HOME") or Path.home()) / ".local" / "share")
    return Path(data).absolute() / "open-persona"


def work_tree_above(folder: Path) -> Path | None:
    """The git work tree that ``folder`` lies in; symlinks are followed. A folder that can't be looked into is none."""
    resolved = Path(os.path.realpath(folder))
    return next((parent for parent in (resolved, *resolved.parents) if os.path.lexists(parent / ".git")), None)


def prepare_home(folder: Path) -> None:
    """Makes the folder, for its owner alone.

    Raises ``HomeRefused`` inside a git work tree (secrets and chats could be committed) and where it can't be made or
    written.
    """
    if (tree := work_tree_above(folder)) is not None:
        raise HomeRefused(
            f"{folder} lies in the git work tree {tree}, where secrets and chats could be committed. "
            f"Set {HOME_SETTING} to a folder outside of it, or unset it to use your data directory."
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HomeRefused(f"{folder} can't be made: {error}. Set {HOME_SETTING} to a folder that you own.") from error
    check_writable(folder)


def check_writable(folder: Path) -> None:
    """Writes a little into the folder, and leaves nothing of it. Raises ``HomeRefused``."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise unwritable(folder, error) from None


def unwritable(path: Path, error: OSError) -> HomeRefused:
    """The refusal for a place in the home where nothing can be written."""
    why = error.strerror or error
    return HomeRefused(f"{path} can't be written: {why}. Make room there, or set {HOME_SETTING} to a folder of yours.")
