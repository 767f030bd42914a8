"""Putting new files down: all of them, or none."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from open_persona.errors import BadArgument

Files = Mapping[Path, str]
"""Path → text, in the order in which they are written."""


def write_all(files: Files) -> None:
    """Write every file, in order. Raises ``BadArgument`` for the first that is there already, before anything is
    written, and ``OSError`` after taking back what had been."""
    for path in files:
        if path.exists() or path.is_symlink():
            raise BadArgument(f"{path} is there already, and nothing was written.")
    made: list[Path] = []
    try:
        for path, text in files.items():
            made += _make_folders(path.parent)
            made.append(path)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError:
        _take_back(made)
        raise


def _make_folders(folder: Path) -> list[Path]:
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return list(reversed(missing))


def _take_back(made: list[Path]) -> None:
    for path in reversed(made):
        with contextlib.suppress(OSError):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()
