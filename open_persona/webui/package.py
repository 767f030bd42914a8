"""Our package in Open WebUI's environment: ``openwebui/``, and the one line that lets every start there load it.

No file of Open WebUI's is changed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from open_persona.errors import FetchFailed

SOURCE = Path(__file__).resolve().parents[2] / "openwebui"
NAME = "openwebui"
START = "start.py"
HOOK = "open_persona.pth"
HOOK_LINE = "import openwebui.start\n"
NOT_COPIED = ("__pycache__", "Dockerfile")
_SCRATCH = ".open-persona-"


def put_in(source: Path, site_packages: Path) -> bool:
    """Makes ``site_packages/openwebui`` the same as ``source``, and the hook load it. Whether anything was changed.

    The package is exchanged as a whole: an interrupted exchange leaves no part of it, and the next call goes on. To be
    called by one process at a time. Raises ``FetchFailed`` where ``source`` is not whole, ``OSError`` where nothing
    can be written.
    """
    if not (source / START).is_file():
        raise FetchFailed(f"{source} holds no {START}: this copy of Open Persona is not whole. Get it anew.")
    target, hook = site_packages / NAME, site_packages / HOOK
    differs = _content(target) != _content(source)
    if differs:
        _exchange(source, target)
    hook_differs = not hook.is_file() or hook.read_text() != HOOK_LINE
    if hook_differs:
        scratch = site_packages / f"{_SCRATCH}hook"
        scratch.write_text(HOOK_LINE)
        scratch.replace(hook)
    return differs or hook_differs


def _exchange(source: Path, target: Path) -> None:
    for left in target.parent.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=target.parent) as scratch:
        new, old = Path(scratch) / "new", Path(scratch) / "old"
        shutil.copytree(source, new, ignore=shutil.ignore_patterns(*NOT_COPIED))
        if target.exists():
            target.rename(old)
        new.rename(target)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not any(part in NOT_COPIED for part in path.relative_to(folder).parts):
            yield path
