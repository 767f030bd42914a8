"""The folders of users under the home: whose there are, when they were used last, and their removal."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
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
            _empty(folder)
            folder.rmdir()


def _empty(top: Path) -> None:
    """Removes what is in a folder, however deep an agent has nested it: no path grows, and nothing calls itself.

    What is in a folder below is moved up into ``top`` under a new name before that folder goes. Folders that an agent
    has closed are opened; no link is followed.
    """
    numbers = itertools.count()
    with _opened(str(top)) as above:
        while names := os.listdir(above):  # noqa: PTH208 - of a descriptor
            for name in names:
                if not stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=above)
                    continue
                with _opened(name, above) as folder:
                    _move_up(folder, above, numbers)
                os.rmdir(name, dir_fd=above)


def _move_up(folder: int, above: int, numbers: Iterator[int]) -> None:
    """Files go at once."""
    with os.scandir(folder) as entries:
        for entry in list(entries):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=folder)
                continue
            with _opened(entry.name, folder):  # a closed one can't be moved either
                os.rename(entry.name, _free(above, numbers), src_dir_fd=folder, dst_dir_fd=above)


def _free(folder: int, numbers: Iterator[int]) -> str:
    for number in numbers:
        try:
            os.stat(name := f".removed-{number}", dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return name
    raise AssertionError


@contextlib.contextmanager
def _opened(name: str, above: int | None = None) -> Iterator[int]:
    """The descriptor of a folder, with all rights for its owner."""
    flags = os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        descriptor = os.open(name, os.O_RDONLY | flags, dir_fd=above)
    except PermissionError:
        os.chmod(name, stat.S_IRWXU, dir_fd=above)  # nothing of the user runs that could put a link there
        descriptor = os.open(name, os.O_RDONLY | flags, dir_fd=above)
    try:
        if os.fstat(descriptor).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.fchmod(descriptor, stat.S_IRWXU)
        yield descriptor
    finally:
        os.close(descriptor)


def _databases(folder: Path) -> Iterator[Path]:
    for path in folder.glob("*/data/opencode/opencode.db*"):
        if not path.is_symlink():
            yield path


def _changed(path: Path) -> float:
    try:
        return path.stat(follow_symlinks=False).st_mtime
    except OSError:
        return 0.0
