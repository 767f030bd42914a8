"""What a rule finds, and what is said of one integration or persona as a whole."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

Level = Literal["error", "warning"]
"""A warning is shown and fails nothing."""

Kind = Literal["integration", "persona"]


class Place(NamedTuple):
    """``file`` as it is shown; ``line`` counts from 1."""

    file: str
    line: int = 1


class Found(NamedTuple):
    """One thing wrong, as a rule yields it."""

    place: Place
    what: str
    mend: str
    level: Level = "error"


class Problem(BaseModel):
    """One thing wrong: the rule that found it, where, what, and how to mend it."""

    model_config = ConfigDict(frozen=True)

    rule: str
    level: Level
    file: str
    line: int
    what: str
    mend: str

    @staticmethod
    def of(rule: str, found: Found) -> Problem:
        return Problem(
            rule=rule,
            level=found.level,
            file=found.place.file,
            line=found.place.line,
            what=found.what,
            mend=found.mend,
        )


class Waived(BaseModel):
    """A problem that the manifest excuses, with its reason."""

    model_config = ConfigDict(frozen=True)

    problem: Problem
    reason: str


class Examined(BaseModel):
    """One integration or persona. ``notes`` say what could not be looked at, and why."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    name: str
    problems: tuple[Problem, ...] = ()
    waived: tuple[Waived, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def errors(self) -> int:
        return sum(problem.level == "error" for problem in self.problems)

    @property
    def warnings(self) -> int:
        return len(self.problems) - self.errors
