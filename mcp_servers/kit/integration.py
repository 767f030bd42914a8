"""What a server reads of its own ``manifest.yaml``: its name, its settings, what its tools may do.

The manifest is the one place where these are written. The hub judges the whole file; here only what a server
needs is read, so that a server also runs under a hub that knows more keys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from mcp.types import ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field, ValidationError

MANIFEST = "manifest.yaml"

READ = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
"""Annotations of a tool that only reads from a service outside."""

WRITE = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=True)
"""Annotations of a tool that changes something there that can be changed back."""

DESTRUCTIVE = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=True)
"""Annotations of a tool that deletes, sends or pays."""


class ManifestError(Exception):
    """A manifest that cannot be used; the message has the file and the reason."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Setting(_Part):
    """One setting of the integration, as the caller fills it in."""

    key: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    title: Annotated[str, Field(min_length=1)]
    secret: bool = False
    required: bool = False


class Transport(_Part):
    """How the integration is reached; ``port`` is None where nothing is run here (type ``http``)."""

    type: Literal["python", "command", "http"]
    port: Annotated[int, Field(ge=1024, le=65535)] | None = None


class Integration(_Part):
    """One folder under ``mcp_servers/``, as its manifest describes it."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
    title: Annotated[str, Field(min_length=1)]
    description: str = ""
    transport: Transport
    settings: tuple[Setting, ...] = ()
    tools: dict[str, Literal["read", "write", "destructive"]] = Field(default_factory=dict)

    @staticmethod
    def from_folder(folder: Path) -> Integration:
        """Read ``folder/manifest.yaml``. Raises ManifestError with the file and the reason."""
        file = folder / MANIFEST
        try:
            content: object = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ManifestError(f"{file}: {_one_line(error)}") from error
        try:
            integration = Integration.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ManifestError(f"{file}: {where}: {first['msg']}") from error
        if integration.name != folder.name:
            raise ManifestError(f"{file}: name: is {integration.name!r}, but the folder is {folder.name!r}")
        if integration.transport.type != "http" and integration.transport.port is None:
            raise ManifestError(f"{file}: transport.port: is missing")
        return integration


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
