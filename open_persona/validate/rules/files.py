"""Rules on the folder's files: what lies there, how long modules are, what they import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from open_persona.validate.problems import Found
from open_persona.validate.sources import Source, text_of
from open_persona.validate.subject import Subject

LONGEST_MODULE = 400
MAX_BINARY = 256 * 1024
MAX_TEXT = 1024 * 1024
STRAY = ("*.pyc", "*.pyo", "*~", "*.swp", "*.orig", "*.rej", "*.bak", "*.log", ".DS_Store", "Thumbs.db")
STRAY_FOLDERS = frozenset({"node_modules", ".venv", "venv", "dist", "build"})
FOREIGN = frozenset({"hub", "sidecar", "open_persona", "openwebui", "tests"})
"""What runs in another process: a server knows nothing of it."""


def server_is_there(subject: Subject) -> Iterator[Found]:
    """A python integration has its server.py."""
    if subject.ours and not (subject.folder / "server.py").is_file():
        yield Found(
            subject.in_manifest("transport", "type"),
            "there is no server.py in the folder",
            "Write it (mcp_servers/kit/README.md has a whole one), or state another `transport`.",
        )


def modules_parse(subject: Subject) -> Iterator[Found]:
    """Each module is valid Python."""
    for source in subject.sources:
        if source.fault is not None:
            line, reason = source.fault
            yield Found(subject.place(source.path, line), f"not valid Python: {reason}", "Correct that line.")


def modules_are_short(subject: Subject) -> Iterator[Found]:
    """No module is over 400 lines."""
    for source in subject.sources:
        if (lines := len(source.text.splitlines())) > LONGEST_MODULE:
            yield Found(
                subject.place(source.path, LONGEST_MODULE + 1),
                f"the module has {lines} lines; {LONGEST_MODULE} are the most",
                "Split it by idea: one for the upstream's client, one for its records, one for the tools.",
            )


def imports_stay_inside(subject: Subject) -> Iterator[Found]:
    """A server imports nothing of the hub, the sidecar, the command, Open WebUI's part or another integration."""
    for source in subject.sources:
        for module, line in _imported(source):
            if (foreign := _foreign(module, subject.name)) is not None:
                yield Found(
                    subject.place(source.path, line),
                    f"the server imports {foreign}, which is none of its own",
                    "Use mcp_servers.kit, or write what you need in the folder.",
                )


def no_stray_files(subject: Subject) -> Iterator[Found]:
    """Nothing lies in the folder that does not belong to the integration."""
    told: set[Path] = set()
    for path in subject.paths:
        stray_folder = _stray_folder(path, subject.folder)
        if stray_folder is not None:
            if stray_folder not in told:
                told.add(stray_folder)
                yield Found(subject.place(stray_folder), "a folder that tools make", "Delete it.")
            continue
        if any(fnmatch(path.name, pattern) for pattern in STRAY):
            yield Found(subject.place(path), "a file that an editor or a program left behind", "Delete it.")
        elif (problem := _too_big(path)) is not None:
            yield Found(subject.place(path), problem, "Fetch it when it is needed, or keep it elsewhere.")


def _stray_folder(path: Path, folder: Path) -> Path | None:
    for parent in path.relative_to(folder).parents:
        if parent.name in STRAY_FOLDERS:
            return folder / parent
    return None


def _too_big(path: Path) -> str | None:
    try:
        size = path.stat(follow_symlinks=False).st_size
    except OSError:
        return None
    most = MAX_TEXT if size <= MAX_BINARY or text_of(path) is not None else MAX_BINARY
    return f"a file of {size // 1024} KiB" if size > most else None


def _imported(source: Source) -> Iterator[tuple[str, int]]:
    """Absolute names, lazy imports included."""
    for node in ast.walk(source.tree) if source.tree else ():
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            if node.module == "mcp_servers":
                yield from ((f"mcp_servers.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno


def _foreign(module: str, name: str) -> str | None:
    first, _, rest = module.partition(".")
    if first in FOREIGN:
        return first
    if first == "mcp_servers" and rest.partition(".")[0] not in {"kit", name}:
        return module
    return None
