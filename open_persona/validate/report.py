"""What ``open-persona validate`` prints: groups for people, one document for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from open_persona.terminal import COLOURS, printable
from open_persona.validate.problems import Examined, Problem

COLUMNS = 80


def document_of(examined: Sequence[Examined]) -> str:
    """``{errors, warnings, examined: [{kind, name, problems, waived, notes}]}``."""
    document = {
        "errors": sum(one.errors for one in examined),
        "warnings": sum(one.warnings for one in examined),
        "examined": [one.model_dump() for one in examined],
    }
    return json.dumps(document, indent=1, ensure_ascii=False)


def show(examined: Sequence[Examined], out: Console) -> None:
    """One line for what is well, a group for what is not, and a summary; at most ``COLUMNS`` wide but for paths."""
    for one in examined:
        state = "fail" if one.errors else "warn" if one.warnings else "ok"
        out.print(Text.assemble((f"{state:4}", COLOURS[state]), f"  {printable(one.name)}"), soft_wrap=True)
        for line in _details(one):
            out.print(Text(printable(line)), soft_wrap=True)
    out.print(Text(summary(examined)), soft_wrap=True)


def summary(examined: Sequence[Examined]) -> str:
    kinds = [sum(one.kind == kind for one in examined) for kind in ("integration", "persona")]
    errors, warnings = sum(one.errors for one in examined), sum(one.warnings for one in examined)
    waived = sum(len(one.waived) for one in examined)
    parts = [_count(errors, "problem"), _count(warnings, "warning"), f"{waived} waived"]
    return f"\n{_count(kinds[0], 'integration')}, {_count(kinds[1], 'persona')}: {', '.join(parts)}"


def _details(one: Examined) -> Iterator[str]:
    for problem in one.problems:
        yield from _lines_of(problem)
    for waived in one.waived:
        yield f"      {waived.problem.file}:{waived.problem.line}"
        yield from _wrapped(f"[{waived.problem.rule}] waived: {waived.reason}")
    for note in one.notes:
        yield from _wrapped(f"Note: {note}")


def _lines_of(problem: Problem) -> Iterator[str]:
    """The place stands on a line of its own, so that a terminal can open it."""
    warning = "warning: " if problem.level == "warning" else ""
    yield f"      {problem.file}:{problem.line}"
    yield from _wrapped(f"[{problem.rule}] {warning}{problem.what}")
    yield from _wrapped(f"→ {problem.mend}")


def _wrapped(text: str) -> list[str]:
    indent = " " * 8
    return textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
