"""``open-persona validate``: examine, show, and the exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from open_persona.settings import StackSettings
from open_persona.validate.examination import examine
from open_persona.validate.personas import PersonaFolder
from open_persona.validate.report import document_of, show

MCP_HOST = "OPEN_PERSONA_MCP_HOST"


async def validate(
    settings: StackSettings,
    environment: Mapping[str, str],
    out: Console,
    names: Sequence[str],
    *,
    running: bool,
    as_json: bool,
) -> int:
    """0 where nothing has to be mended, else 1. Raises ``BadArgument`` for a name that is not there."""
    host = environment.get(MCP_HOST) or "127.0.0.1"
    examined = await examine(settings.mcp_servers_dir, PersonaFolder.of(environment), names, running=running, host=host)
    if as_json:
        out.file.write(document_of(examined) + "\n")
    else:
        show(examined, out)
    return int(any(one.errors for one in examined))
