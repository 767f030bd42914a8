"""What the seeder remembers between starts, in Open WebUI's own database.

``personas``: those that were seeded once; one that the admin deletes afterwards stays deleted. ``hidden``: the access
that the tool of a gone integration had, for the day it comes back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from . import webui_tables as tables
from .webui_tables import Grant

KEY = "open_persona.seeded"


@dataclass(frozen=True)
class Memory:
    """One state of it; immutable."""

    personas: frozenset[str] = frozenset()
    hidden: Mapping[str, tuple[Grant, ...]] = field(default_factory=dict)

    def with_persona(self, persona: str) -> Memory:
        return replace(self, personas=self.personas | {persona})

    def with_hidden(self, tool_id: str, grants: tuple[Grant, ...]) -> Memory:
        return replace(self, hidden={**self.hidden, tool_id: grants})

    def without_hidden(self, tool_id: str) -> Memory:
        return replace(self, hidden={key: value for key, value in self.hidden.items() if key != tool_id})

    def as_json(self) -> dict[str, object]:
        hidden = {key: [dict(grant) for grant in self.hidden[key]] for key in sorted(self.hidden)}
        return {"personas": sorted(self.personas), "hidden": hidden}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Memory:
        """Reads what :meth:`as_json` wrote; what it cannot read counts as not remembered."""
        personas, hidden = value.get("personas"), value.get("hidden")
        return cls(
            frozenset(each for each in personas if isinstance(each, str))
            if isinstance(personas, list)
            else frozenset(),
            {key: _grants(held) for key, held in hidden.items()} if isinstance(hidden, dict) else {},
        )


def _grants(held: object) -> tuple[Grant, ...]:
    names = ("principal_type", "principal_id", "permission")
    entries = held if isinstance(held, list) else ()
    return tuple(
        {name: entry[name] for name in names}
        for entry in entries
        if isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in names)
    )


async def recall() -> Memory:
    return Memory.from_json(await tables.note(KEY))


async def remember(memory: Memory) -> None:
    await tables.save_note(KEY, memory.as_json(), int(time.time()))
