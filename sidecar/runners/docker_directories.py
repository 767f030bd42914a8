"""Whose the runner's folders are: a sidecar that is root gives them to the user as which the container runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sidecar.runners.base import RunnerSpec
from sidecar.runners.directories import prepare

UNPRIVILEGED = (1000, 1000)


def runner_user() -> tuple[int, int]:
    """uid and gid of the process in the container: the sidecar's own, but never root's."""
    return UNPRIVILEGED if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def prepare_for_container(spec: RunnerSpec) -> None:
    """``prepare``, and everything then belongs to the runner's user. No link is followed: the agent can plant one."""
    prepare(spec)
    if os.geteuid() != 0:
        return
    uid, gid = runner_user()
    for folder in (spec.workspace, *(spec.private / kind for kind in ("state", "cache", "data"))):
        # A folder that is the runner's already holds what the runner made.
        if folder.lstat().st_uid != uid:
            _give(folder, uid, gid)
    _give(spec.private / "config", uid, gid)
    for kind in ("state", "cache", "data"):
        os.lchown(spec.private / kind / "opencode", uid, gid)


def _give(folder: Path, uid: int, gid: int) -> None:
    for path in _tree(folder):
        with contextlib.suppress(FileNotFoundError):  # a file that was to be put in another's place
            os.lchown(path, uid, gid)


def _tree(folder: Path) -> Iterator[Path]:
    """The folder last, so that one that was cut short is given away again."""
    for parent, folders, files in os.walk(folder, followlinks=False):
        yield from (Path(parent) / name for name in (*folders, *files))
    yield folder
