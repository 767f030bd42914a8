"""What changed between two lists of tools, as people read it: each definition as lines, and their unified diff.

A definition is a stranger's text. Its lines show every character: what has no shape of its own (controls, zero-width
and direction marks, line separators, blanks at a line's end) is written as an escape, so nothing in it can hide or
pass for another line of the diff.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from hub.tools import Tool, changed, seen_by_a_model
from hub.wire import DriftKind, ToolDrift

WIDTH = 100
MAX_LINES = 1000
"""Lines of one definition that are compared."""

MAX_DIFF_LINES = 400
MAX_STORED_LINES = 600
MAX_SHOWN_LINES = 6000
"""Lines of all diffs of one change, as it is stored and as somebody decides about it; further tools are but named."""

MAX_DEPTH = 30
CONTEXT = 2
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Printable by their class, and yet nothing that anybody sees."""

NOT_KEPT = "(the earlier definition was not kept)"
GOES_ON = "… (it goes on)"
_BEYOND = " (the definitions differ beyond the lines that are compared)"
UNSEEN = f"… only the first {MAX_LINES} lines are compared; what comes after them may have changed, too"


def drift(before: Sequence[Tool], now: Sequence[Tool], max_lines: int = MAX_STORED_LINES) -> tuple[ToolDrift, ...]:
    """How the tools differ: changed ones, then new, then gone ones, each sorted by name; empty when they do not.

    Changed ones come first so that a crowd of new tools can't push one out of sight.
    """
    old, new = ({tool.name: tool for tool in tools} for tools in (before, now))
    names = changed(
        {name: tool.fingerprint for name, tool in old.items()}, {name: tool.fingerprint for name, tool in new.items()}
    )
    found: list[ToolDrift] = []
    for name in sorted(names, key=lambda name: (name not in new, name not in old, name)):
        one = _drift(name, old.get(name), new.get(name), shown=max_lines > 0)
        max_lines -= one.diff.count("\n") + 1
        found.append(one)
    return tuple(found)


def definition_lines(definition: Mapping[str, object]) -> list[str]:
    """A definition in canonical order, one fact a line; of a very long one the first lines, and that it goes on."""
    lines = list(islice(_all_lines(definition), MAX_LINES + 1))
    return [*lines[:MAX_LINES], GOES_ON] if len(lines) > MAX_LINES else lines


def _drift(name: str, old: Tool | None, new: Tool | None, *, shown: bool) -> ToolDrift:
    kind: DriftKind = "new" if old is None else "gone" if new is None else "changed"
    return ToolDrift(tool=name, kind=kind, diff=_diff(old, new) if shown else "")


def _diff(old: Tool | None, new: Tool | None) -> str:
    before, now = ([] if tool is None else _lines(tool) for tool in (old, new))
    lines = list(islice(difflib.unified_diff(before, now, n=CONTEXT, lineterm=""), 2, None))
    if not lines:
        lines = [_BEYOND]
    if len(lines) > MAX_DIFF_LINES:
        lines = [*lines[:MAX_DIFF_LINES], f"… and {len(lines) - MAX_DIFF_LINES} more lines"]
    if GOES_ON in (*before[-1:], *now[-1:]) and lines != [_BEYOND]:
        lines.append(UNSEEN)  # a small change at the top must not stand for one that is out of sight
    return "\n".join(lines)


def _lines(tool: Tool) -> list[str]:
    return definition_lines(tool.definition) if tool.definition else [NOT_KEPT]


def _all_lines(definition: Mapping[str, object]) -> Iterator[str]:
    for key, value in seen_by_a_model(definition).items():
        yield from _entry(key, value, 0)


def _entry(key: str | None, value: object, depth: int) -> Iterator[str]:
    """One ``key: value`` of a mapping, or ``- value`` of a list (no key)."""
    indent = "  " * depth
    head = f"{indent}-" if key is None else f"{indent}{_key(key)}:"
    if isinstance(value, dict) and value and depth < MAX_DEPTH:
        yield head
        for inner in sorted(value, key=str):
            yield from _entry(str(inner), value[inner], depth + 1)
    elif isinstance(value, list) and value and depth < MAX_DEPTH:
        yield head
        for item in value:
            yield from _entry(None, item, depth + 1)
    elif isinstance(value, str) and (len(value) > WIDTH // 2 or "\n" in value):
        yield f"{head} |"
        for line in value.split("\n"):
            yield from _wrapped(line, indent + "  ")
    else:
        first, *rest = _wrapped(json.dumps(value, ensure_ascii=False, sort_keys=True), "")
        yield f"{head} {first[2:]}"
        yield from (f"{indent}  {line}" for line in rest)


def _wrapped(text: str, indent: str) -> Iterator[str]:
    """One line of a text, over several where it is long: ``| `` begins it and ``> `` goes on, after one blank."""
    mark = "| "
    while len(text) > WIDTH:
        cut = text.rfind(" ", WIDTH // 2, WIDTH)
        at, after = (cut, cut + 1) if cut > 0 else (WIDTH, WIDTH)
        yield f"{indent}{mark}{_visible(text[:at])}"
        text, mark = text[after:], "> " if cut > 0 else ">>"
    yield f"{indent}{mark}{_visible(text)}"


def _key(text: str) -> str:
    plain = text.isascii() and text.replace("_", "").replace("-", "").replace("$", "").isalnum()
    return text if plain and len(text) <= WIDTH else _visible(json.dumps(text[: 4 * WIDTH], ensure_ascii=False))


def _visible(text: str) -> str:
    """``text`` with a shape for every character; blanks at its end too."""
    told = text.replace("\\u{", "\\\\u{")
    shown = "".join(char if char.isprintable() and not _BLANK.match(char) else f"\\u{{{ord(char):x}}}" for char in told)
    bare = shown.rstrip(" ")
    return bare + "\\u{20}" * (len(shown) - len(bare))
