"""A runner's directories: made before every start, and swept before every turn."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from sidecar.runners.base import RunnerSpec

PLUGIN = {"@opencode-ai/plugin": "1.18.33"}
MAX_ENTRIES = 200_000


def prepare(spec: RunnerSpec) -> None:
    """Makes the directories and the config of a runner; takes over the data of the key set before."""
    spec.workspace.mkdir(parents=True, exist_ok=True, mode=0o700)
    spec.private.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _take_over_data(spec)
    for kind in ("config", "state", "cache", "data"):
        (spec.private / kind / "opencode").mkdir(parents=True, exist_ok=True, mode=0o700)
    _drop_libraries(spec.private / "cache")
    _suppress_install(spec.private / "config" / "opencode")
    write_config(spec)


def write_config(spec: RunnerSpec) -> None:
    """Replaces the config file in one step; the agent cannot reach it, since it lies outside the workspace."""
    write_atomically(spec.config_file, spec.config_text)


def write_atomically(path: Path, text: str) -> None:
    """The old file or the whole new one, whatever happens in between; mode 0600, and owned as its folder is."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            if os.geteuid() == 0:
                owner = path.parent.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def _take_over_data(spec: RunnerSpec) -> None:
    """opencode's database moves to the newest key set: memory survives a changed key, the old set's rest goes."""
    others = [path for path in spec.private.parent.iterdir() if path.is_dir() and path != spec.private]
    with_data = [path for path in others if (path / "data").is_dir()]
    if with_data and not spec.data.exists():
        newest = max(with_data, key=lambda path: (path / "data").stat().st_mtime)
        spec.private.mkdir(exist_ok=True, mode=0o700)
        (newest / "data").rename(spec.data)
    for path in others:
        if not (path / "data").exists():
            shutil.rmtree(path, ignore_errors=True)


def _drop_libraries(cache: Path) -> None:
    """opencode unpacks a library of 5 MB under a new name at every start, and leaves it behind."""
    for left in cache.glob(".*.so"):
        left.unlink(missing_ok=True)


def _suppress_install(config: Path) -> None:
    """opencode installs its plugin package from npm into a config directory, unless these files say it is there."""
    lock = {"lockfileVersion": 3, "packages": {"": {"dependencies": PLUGIN}}}
    (config / "node_modules").mkdir(exist_ok=True)
    for name, text in {
        "package.json": json.dumps({"dependencies": PLUGIN}),
        "package-lock.json": json.dumps(lock),
        "opencode.jsonc": "{}",
        ".gitignore": "*\n",
    }.items():
        if _text_of(config / name) != text:
            write_atomically(config / name, text)


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text()
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def sweep_links(workspace: Path) -> list[str]:
    """Removes the symbolic links that lead out of the workspace, and returns their paths relative to it.

    opencode follows a link inside its directory without asking where it leads. Raises ``OSError`` on a workspace with
    more than ``MAX_ENTRIES`` entries: too many to vouch for.
    """
    root = workspace.resolve()
    removed: list[str] = []
    seen = 0
    for directory, folders, files in os.walk(workspace, followlinks=False):
        for name in (*folders, *files):
            seen += 1
            if seen > MAX_ENTRIES:
                raise OSError(f"more than {MAX_ENTRIES} files in the workspace")
            path = Path(directory) / name
            if path.is_symlink() and _leaves(path, root):
                path.unlink()
                removed.append(str(path.relative_to(workspace)).encode("utf-8", "replace").decode())
    return removed


def _leaves(link: Path, root: Path) -> bool:
    """Whether a link leads out of ``root``, or nowhere that can be told (a loop)."""
    try:
        return not link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return True
