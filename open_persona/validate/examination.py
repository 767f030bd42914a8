"""Which folders and templates there are, and judging them at the same time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from hub.manifest import PythonTransport
from hub.manifest_file import MANIFEST, ManifestFile, read_manifest
from open_persona.errors import BadArgument
from open_persona.validate.judgement import judge
from open_persona.validate.listing import ask_own, ask_running, port_state
from open_persona.validate.personas import PersonaFolder, judge_templates
from open_persona.validate.problems import Examined
from open_persona.validate.subject import Listing, PortState, Subject
from sidecar.templates import TemplateError

NOT_ASKED = "its tools were not looked at, because it runs elsewhere: --running asks it where it runs"


def folders_of(root: Path) -> list[Path]:
    """The integrations' folders, as the hub and the launcher find them."""
    try:
        entries = sorted(root.resolve().iterdir())
    except OSError as error:
        raise BadArgument(f"{root}: {error.strerror}. OPEN_PERSONA_MCP_SERVERS_DIR names the folder.") from None
    return [path for path in entries if path.name[0] not in "._" and (path / MANIFEST).exists()]


async def examine(
    root: Path, personas: PersonaFolder, names: Sequence[str] = (), *, running: bool = False, host: str = "127.0.0.1"
) -> list[Examined]:
    """Integrations by name, then personas by id; only those of ``names`` where there are any.

    ``running`` looks at this machine, too: ports, and servers that somebody else wrote. Raises ``BadArgument`` for a
    name that is neither.
    """
    folders = folders_of(root)
    templates = _templates(personas)
    _check_names(names, [*(folder.name for folder in folders), *(one.name for one in templates)])
    files = [read_manifest(folder) for folder in folders]
    lane = asyncio.Semaphore(max(2, os.cpu_count() or 2))

    async def one(folder: Path, file: ManifestFile) -> Examined:
        async with lane:
            return await _integration(folder, file, files, running=running, host=host)

    wanted = [(folder, file) for folder, file in zip(folders, files, strict=True) if not names or folder.name in names]
    judged = await asyncio.gather(*(one(folder, file) for folder, file in wanted))
    return [*judged, *(one for one in templates if not names or one.name in names)]


async def _integration(
    folder: Path, file: ManifestFile, files: Iterable[ManifestFile], *, running: bool, host: str
) -> Examined:
    listing, port = await _asked(folder, file, running=running, host=host)
    neighbours = tuple(other for other in files if other is not file)
    subject = Subject(folder, file, neighbours, listing, port)
    return judge(subject, () if listing is not None or file.manifest is None else (NOT_ASKED,))


async def _asked(
    folder: Path, file: ManifestFile, *, running: bool, host: str
) -> tuple[Listing | None, PortState | None]:
    manifest = file.manifest
    if manifest is None:
        return None, None
    port = await port_state(manifest, host) if running else None
    if not isinstance(manifest.transport, PythonTransport):
        return await ask_running(manifest, host) if running else None, port
    if not (folder / "server.py").is_file():
        return None, port
    return await ask_own(folder, manifest), port


def _templates(folder: PersonaFolder) -> list[Examined]:
    try:
        return judge_templates(folder)
    except TemplateError as error:
        raise BadArgument(str(error)) from None


def _check_names(names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise BadArgument(f"there is no integration and no persona {name!r}. There are: {', '.join(known)}.")
