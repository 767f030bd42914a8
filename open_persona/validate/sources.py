"""The files of an integration's folder, and its Python modules as syntax trees."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MADE_BY_TOOLS = frozenset({"__pycache__", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache"})
"""Folders that running and checking the code leaves behind; git ignores them and so do the rules."""

MAX_READ = 1024 * 1024
"""Bytes that a rule reads of one file."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One Python module. ``tree`` is None where it can't be parsed, and ``fault`` then has line and reason."""

    path: Path
    text: str
    tree: ast.Module | None
    fault: tuple[int, str] | None = None

    @staticmethod
    def read(path: Path) -> Source:
        text = text_of(path) or ""
        try:
            return Source(path, text, ast.parse(text))
        except SyntaxError as error:
            return Source(path, text, None, (error.lineno or 1, error.msg))
        except ValueError as error:  # a null byte
            return Source(path, text, None, (1, str(error)))

    @cached_property
    def functions(self) -> tuple[Function, ...]:
        nodes = ast.walk(self.tree) if self.tree else ()
        return tuple(node for node in nodes if isinstance(node, Function))

    @cached_property
    def strings(self) -> tuple[tuple[str, int], ...]:
        """Every string constant with its line, docstrings too."""
        nodes = ast.walk(self.tree) if self.tree else ()
        return tuple(
            (node.value, node.lineno)
            for node in nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )


def files_of(folder: Path) -> Iterator[Path]:
    """Every file and link below ``folder``, sorted, but for what tools make. Links are not followed."""
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in MADE_BY_TOOLS)
        yield from (Path(here, name) for name in sorted(files))


def text_of(path: Path) -> str | None:
    """The first ``MAX_READ`` bytes as text; None for a binary file and for one that can't be read."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            raw = file.read(MAX_READ)
    except OSError:
        return None
    return None if b"\0" in raw else raw.decode("utf-8", "replace")
