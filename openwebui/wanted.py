"""What the seeder wants to be there: plain data, before anything of Open WebUI is touched."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class PublicRead:
    """Every user may read it."""


@dataclass(frozen=True)
class GroupGrant:
    """The members of one group, by its name, may read and write it; nobody else may."""

    group: str


@dataclass(frozen=True)
class WantedTool:
    """A tool that has settings only. ``name``, ``description`` and ``access`` count at its first seed alone.

    ``status`` is the text of the last line of its description (``status_line``), None where there is none.
    """

    id: str
    name: str
    description: str
    content: str
    has_user_valves: bool
    access: PublicRead | GroupGrant
    status: str | None = None


@dataclass(frozen=True)
class WantedModel:
    """A model as it is first seeded; ``base`` is None for a base model. Every user may read it."""

    id: str
    name: str
    base: str | None
    meta: dict[str, object] = field(default_factory=dict)
