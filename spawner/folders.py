"""Whether a runner's folders are where they seem to be, and which folders they are.

Docker follows symbolic links when it mounts. The sidecar can write to the data directory, so a sidecar that was taken
over could put a link there that leads to any place of the host.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from spawner.errors import Malformed, Refused

Identity = tuple[int, int]
"""Device and inode: the same in every mount of a folder."""


def identities(data: Path, folders: Mapping[str, Path]) -> dict[str, Identity]:
    """What each of ``folders`` is; looks at each step of the way from ``data`` to it.

    Raises ``Refused``: a link, or no folder. ``Malformed``, as Docker would: it is not there, or can't be looked at.
    """
    return {target: _identity(data, folder) for target, folder in folders.items()}


def _identity(data: Path, folder: Path) -> Identity:
    step, found = data, (0, 0)
    for part in folder.relative_to(data).parts:
        step /= part
        found = _look(step)
    return found


def _look(path: Path) -> Identity:
    try:
        told = path.lstat()
    except OSError as error:
        raise Malformed(
            f"HostConfig.Mounts: a folder of the runner can't be looked at ({error.strerror}). Make it first; the "
            "spawner has to see the data directory at the same path, as the user whose folders they are."
        ) from None
    if not stat.S_ISDIR(told.st_mode):
        raise Refused("HostConfig.Mounts: each folder of a runner must be a folder, and no link may lead to it.")
    return told.st_dev, told.st_ino
