"""The folders of users under the home: whose there are, when they were used last, and their removal."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

HASH: Final = re.compile(r"[0-9a-f]{16}")


def folders_of(home: Path, user: str) -> tuple[Path, Path]:
    """The workspace, and the private directories of every key set. Neither need exist."""
    return home / "workspaces" / user, home / "runners" / user


def users_with_files(home: Path) -> frozenset[str]:
    """The hashes of those who have a folder."""
    places = (home / "workspaces", home / "runners")
    found = (path.name for place in places if place.is_dir() for path in place.iterdir() if path.is_dir())
    return frozenset(name for name in found if HASH.fullmatch(name))


def touched_at(home: Path, user: str) -> float:
    """When a folder or opencode's database of this user was last changed, in seconds since 1970; 0 for nobody."""
    times = [_changed(path) for folder in folders_of(home, user) for path in (folder, *_databases(folder))]
    return max(times, default=0.0)


def remove(home: Path, user: str) -> None:
    """Removes both folders. Raises ``OSError``; what is left then is removed by the next call."""
    for folder in folders_of(home, user):
        if folder.is_symlink():
            raise OSError(f"{folder} is a link")
        if folder.exists():
            _open_up(folder)
            shutil.rmtree(folder)


def _open_up(folder: Path) -> None:
    """Gives the folders that an agent has closed back to their owner, or they could not be emptied.

    Nothing of the user runs any more, so nothing can exchange a folder for a link meanwhile.
    """
    wanted = stat.S_IRWXU
    if folder.stat().st_mode & wanted != wanted:
        folder.chmod(wanted)
    for place, folders, _ in os.walk(folder, followlinks=False):
        for name in folders:
            path = Path(place, name)
            if not path.is_symlink() and path.stat().st_mode & wanted != wanted:
                path.chmod(wanted)


def _databases(folder: Path) -> Iterator[Path]:
    for path in folder.glob("*/data/opencode/opencode.db*"):
        if not path.is_symlink():
            yield path


def _changed(path: Path) -> float:
    try:
        return path.stat(follow_symlinks=False).st_mtime
    except OSError:
        return 0.0
