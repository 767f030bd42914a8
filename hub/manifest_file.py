"""Reading one ``manifest.yaml``: its model, or the faults with file, line and reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hub.manifest import Manifest
from hub.text import clean

MANIFEST = "manifest.yaml"
MAX_BYTES = 64 * 1024
"""A manifest is a page of text; a larger file is a mistake."""

MAX_DEPTH = 20
MAX_NAME = 100
"""Characters of a folder's name that are shown; no valid name is as long."""

_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)

YamlPath = tuple[str, ...]
"""Keys from the top of the document; a list's item has its index as a string."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a manifest. ``file`` is relative to the integrations' folder, ``line`` counts from 1."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass(frozen=True)
class ManifestFile:
    """One folder as read: either a manifest, or faults. ``lines`` maps every key's path to its line.

    ``unread``: the file could not be read, which another try may change though the file stays as it is.
    """

    folder: str
    manifest: Manifest | None
    faults: tuple[Fault, ...]
    lines: Mapping[YamlPath, int]
    unread: bool = False

    @property
    def file(self) -> str:
        return f"{self.folder}/{MANIFEST}"

    def fault(self, path: YamlPath, reason: str) -> Fault:
        """A fault at the deepest part of ``path`` that the file has."""
        return Fault(self.file, nearest(self.lines, path)[1], reason)


class _UnreadableError(Exception):
    def __init__(self, line: int, reason: str, *, unread: bool = False) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason
        self.unread = unread


def read_manifest(folder: Path) -> ManifestFile:
    """Read ``folder/manifest.yaml``; never raises for what the file says or for a file that can't be read."""
    name = clean(folder.name, MAX_NAME)
    try:
        text = _read_text(folder / MANIFEST)
        lines = _key_lines(text)
        data = yaml.safe_load(text)
    except _UnreadableError as problem:
        fault = Fault(f"{name}/{MANIFEST}", problem.line, problem.reason)
        return ManifestFile(name, None, (fault,), {}, unread=problem.unread)
    try:
        return ManifestFile(name, Manifest.model_validate(data), (), lines)
    except ValidationError as error:
        blank = ManifestFile(name, None, (), lines)
        faults = tuple(_fault_of(blank, detail) for detail in error.errors(include_url=False, include_input=False))
        return ManifestFile(name, None, faults, lines)


def nearest(lines: Mapping[YamlPath, int], path: YamlPath) -> tuple[YamlPath, int]:
    """The deepest part of ``path`` that the file has, and its line; ``((), 1)`` when it has none of it.

    Parts in between that the file does not have are skipped: pydantic puts a union's tag into an error's location.
    """
    here: YamlPath = ()
    for part in path:
        if (*here, part) in lines:
            here = (*here, part)
    return here, lines.get(here, 1)


def _read_text(path: Path) -> str:
    try:
        if not path.is_file():
            raise _UnreadableError(1, "not a regular file")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _UnreadableError(1, f"the file can't be read: {error.strerror}", unread=True) from None
    if len(raw) > MAX_BYTES:
        raise _UnreadableError(1, f"the file is larger than {MAX_BYTES // 1024} KiB")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _UnreadableError(raw.count(b"\n", 0, error.start) + 1, "the file is not UTF-8 text") from None


def _key_lines(text: str) -> dict[YamlPath, int]:
    try:
        _refuse_bombs(text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = f"not valid YAML: {error.problem or 'unreadable'}"
        raise _UnreadableError(mark.line + 1 if mark else 1, clean(reason, 200)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _UnreadableError(1, clean(f"not valid YAML: {error}", 200)) from None
    if not isinstance(root, yaml.MappingNode):
        raise _UnreadableError(1, "a manifest is a mapping of keys to values")
    lines: dict[YamlPath, int] = {}
    _collect(root, (), lines)
    return lines


def _refuse_bombs(text: str) -> None:
    """Aliases can make a small file a huge document, deep nesting a slow one; a manifest needs neither."""
    depth = 0
    for token in yaml.scan(text):
        if isinstance(token, yaml.AliasToken):
            raise _UnreadableError(token.start_mark.line + 1, "YAML aliases (*name) are not allowed")
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > MAX_DEPTH:
            raise _UnreadableError(token.start_mark.line + 1, f"nested deeper than {MAX_DEPTH} levels")


def _collect(node: yaml.Node, path: YamlPath, lines: dict[YamlPath, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            where = (*path, str(key.value))
            line = key.start_mark.line + 1
            if where in lines:
                raise _UnreadableError(
                    line, f"{'.'.join(where)}: the key is there twice (first in line {lines[where]})"
                )
            lines[where] = line
            _collect(value, where, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            where = (*path, str(index))
            lines[where] = item.start_mark.line + 1
            _collect(item, where, lines)


def _fault_of(file: ManifestFile, detail: ErrorDetails) -> Fault:
    path = tuple(str(part) for part in detail["loc"] if part != "[key]")
    known, _ = nearest(file.lines, path)
    shown = ".".join(known if path[-1:] == known[-1:] else (*known, *path[-1:]))
    message = "this key is not known" if detail["type"] == "extra_forbidden" else detail["msg"]
    if detail["type"] == "missing":
        message = "this key is missing"
    return file.fault(path, clean(f"{shown}: {message}", 300))
