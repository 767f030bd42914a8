"""The integrations' folder as it is looked at again and again: cheap while nothing changes, calm while something does.

A look takes the stamp of each manifest and reads only those whose stamp is new. What is new counts once two looks in a
row have seen it the same: a file half written, a copy under way or the moment in which an editor has the old file gone
and the new one not there yet is never taken for what the integrator means.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from hub.manifest_file import MANIFEST, ManifestFile, read_manifest

Stamp = tuple[int, ...]
"""Another one whenever the file, or what it can be read by, has changed."""


class Folder:
    """One reader of one folder. It blocks, and is used by one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: Mapping[str, Stamp] | None = None
        self._read: dict[str, tuple[Stamp, ManifestFile]] = {}

    def look(self) -> tuple[ManifestFile, ...]:
        """Every integration's manifest as it last settled, by folder name. The first look takes all as they are.

        An unchanged one is the same object as before. Raises OSError when the folder itself can't be read; the next
        look goes on from what was known.
        """
        seen = _stamps(self._directory)
        before = seen if self._seen is None else self._seen
        self._seen = seen
        for name in seen.keys() | self._read.keys():
            if seen.get(name) == before.get(name):
                self._settle(name, seen.get(name))
        return tuple(file for _, (_, file) in sorted(self._read.items()))

    def _settle(self, name: str, stamp: Stamp | None) -> None:
        if stamp is None:
            del self._read[name]
            return
        known = self._read.get(name)
        if known is not None and known[0] == stamp and not known[1].unread:
            return
        file = read_manifest(self._directory / name)
        # Written while it was read: the next look sees another stamp and begins anew.
        if _stamp(self._directory / name / MANIFEST) == stamp:
            self._read[name] = (stamp, file)


def _stamps(directory: Path) -> dict[str, Stamp]:
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith((".", "_"))]
    stamps = {name: _stamp(directory / name / MANIFEST) for name in names}
    return {name: stamp for name, stamp in stamps.items() if stamp is not None}


def _stamp(path: Path) -> Stamp | None:
    """None where there is no manifest. A link that leads nowhere is one all the same: reading it will say why."""
    for follow in (True, False):
        try:
            found = path.stat(follow_symlinks=follow)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return (error.errno or 0,)
        return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev, found.st_mode)
    return None
