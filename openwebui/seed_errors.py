"""What can go wrong when seeding.

SeedError
├── NotOursError        somebody else's row has an id that the seeder needs
└── SourceError         hub or sidecar does not answer as it should
"""

from __future__ import annotations


class SeedError(Exception):
    """The message is for the person who runs the deployment: it says what to do and holds no secret."""


class NotOursError(SeedError):
    def __init__(self, tool_id: str) -> None:
        super().__init__(f"The tool {tool_id} was not made by Open Persona and is left alone. Delete or rename it.")


class SourceError(SeedError):
    pass
