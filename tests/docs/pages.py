"""The commands of a how-to page that a test runs as they are written.

A fenced block whose info string begins with ``sh test`` is run by bash, in order, and must end with 0. Further words:

- ``up``: the block starts the services and goes on running; the next ``up`` and the end of the page stop it
- ``exit=N``: it must end with N
- ``within=N``: it is repeated until it ends as it must, for N seconds at the most
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^( *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^\1```[ ]*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block of commands and the line of the page on which it begins."""

    line: int
    script: str
    up: bool = False
    exit_code: int = 0
    within_s: float | None = None


def blocks_of(page: Path) -> list[Block]:
    """The blocks to run, in order. Raises ``ValueError`` for a word that means nothing."""
    text = page.read_text()
    found = []
    for fence in _FENCE.finditer(text):
        words = fence["info"].split()
        if words[:2] == ["sh", "test"]:
            indent = fence[1]
            script = "\n".join(line.removeprefix(indent) for line in fence["body"].splitlines())
            found.append(_block(text.count("\n", 0, fence.start()) + 1, script, words[2:]))
    return found


def _block(line: int, script: str, words: list[str]) -> Block:
    up, exit_code, within_s = False, 0, None
    for word in words:
        name, _, value = word.partition("=")
        if word == "up":
            up = True
        elif name == "exit" and value.isdigit():
            exit_code = int(value)
        elif name == "within" and value.isdigit():
            within_s = float(value)
        else:
            raise ValueError(f"line {line}: {word!r} means nothing to the runner of pages")
    return Block(line, script, up, exit_code, within_s)
