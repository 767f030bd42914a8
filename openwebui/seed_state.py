"""How seeding stands, as the status route tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["seeded", "waiting", "failed"]


@dataclass(frozen=True)
class SeedState:
    """``at`` is since when it stands so (UTC, ISO 8601), ``revision`` the catalog's, ``problem`` what to do."""

    state: State = "waiting"
    at: str = ""
    revision: str = ""
    problem: str = "Seeding has not begun yet."

    def as_json(self) -> dict[str, str]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> SeedState:
        """Reads what :meth:`as_json` wrote; anything else is a state that has not begun."""
        if not isinstance(value, Mapping) or value.get("state") not in {"seeded", "waiting", "failed"}:
            return cls()
        names = ("state", "at", "revision", "problem")
        return cls(**{name: str(value.get(name, "")) for name in names})  # type: ignore[arg-type]


def judge(problems: list[str], waiting_for: list[str], revision: str, now: str) -> SeedState:
    """The state after a run: failed before waiting before seeded."""
    state: State = "failed" if problems else "waiting" if waiting_for else "seeded"
    return SeedState(state, now, revision, " ".join((*problems, *waiting_for)))
