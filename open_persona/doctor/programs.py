"""Are opencode, in the pinned version, and ripgrep there?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from open_persona.doctor.findings import Finding, Patient, fail, ok
from open_persona.errors import FetchFailed
from open_persona.toolchain import OPENCODE, RIPGREP, Tool, find, program_version, tools_folder

SETUP = "Run 'open-persona setup'."


async def opencode(patient: Patient) -> Sequence[Finding]:
    """The agent engine; only the pinned version will do. In ``docker`` mode it is the image's."""
    return await _looked_at(OPENCODE, patient)


async def ripgrep(patient: Patient) -> Sequence[Finding]:
    """opencode's search tools need it. In ``docker`` mode it is the image's."""
    return await _looked_at(RIPGREP, patient)


async def _looked_at(tool: Tool, patient: Patient) -> Sequence[Finding]:
    if patient.settings.runner_mode == "docker":
        return []
    return [await asyncio.to_thread(_examine, tool, patient)]


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
