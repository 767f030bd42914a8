"""Are opencode, in the pinned version, and ripgrep there?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from open_persona.doctor.findings import Finding, Patient, fail, ok
from open_persona.errors import FetchFailed
from open_persona.toolchain import OPENCODE, RIPGREP, Tool, find, program_version, tools_folder

SETUP = "Run 'open-persona setup'."


async def opencode(patient: Patient) -> Sequence[Finding]:
    """The agent engine; only the pinned version will do."""
    return [await asyncio.to_thread(_examine, OPENCODE, patient)]


async def ripgrep(patient: Patient) -> Sequence[Finding]:
    """opencode's search tools need it."""
    return [await asyncio.to_thread(_examine, RIPGREP, patient)]


def _examine(tool: Tool, patient: Patient) -> Finding:
    try:
        path = find(tool, tools_folder(patient.settings.home), patient.environment)
        if path is None:
            return fail(tool.name, "is not installed", SETUP)
        version = program_version(path)
    except FetchFailed as error:
        return fail(tool.name, str(error), f"{SETUP} If {tool.setting} is set, correct it.")
    if tool.exact and version != tool.version:
        return fail(
            tool.name, f"{path} is {version}, but {tool.version} is needed", f"{SETUP} Unset {tool.setting} first."
        )
    return ok(tool.name, f"{version} at {path}")
