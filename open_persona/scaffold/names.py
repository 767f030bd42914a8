"""Which names and ports a new integration or persona can have. Each refusal says why, and what would do."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from pathlib import Path

from hub.manifest import NAME_PATTERN
from hub.manifest_file import ManifestFile, read_manifest
from hub.validate import port_of
from open_persona.errors import BadArgument
from open_persona.ports import is_taken
from open_persona.validate.examination import folders_of
from sidecar.templates import RESERVED

FIRST_PORT = 7001
LAST_PORT = 7999
LONGEST_NAME = 40
PERSONA_ID = re.compile(r"[a-z][a-z0-9-]{0,63}")


def check_integration_name(name: str, root: Path) -> None:
    """Raises ``BadArgument`` for a name that no new folder below ``root`` can have."""
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > LONGEST_NAME:
        raise BadArgument(
            f"{name!r} can't be the name of an integration: take lower case letters, digits and '_', a letter first, "
            f"{LONGEST_NAME} characters at the most, such as {_nearest(name)!r}."
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise BadArgument(f"{name!r} is a word of Python, and its folder could not be imported. Take another name.")
    for taken in (root / name, root / f"{name}.py"):
        if taken.exists() or taken.is_symlink():
            raise BadArgument(f"{taken} is there already, and nothing was written. Take another name.")


def manifests_of(root: Path) -> list[ManifestFile]:
    """Every manifest below ``root``. Raises ``BadArgument`` where the folder can't be read."""
    return [read_manifest(folder) for folder in folders_of(root)]


def next_port(files: Iterable[ManifestFile], host: str = "127.0.0.1") -> int:
    """The first port from ``FIRST_PORT`` that no manifest names and nobody listens on here."""
    named = {port_of(file) for file in files}
    for port in range(FIRST_PORT, LAST_PORT + 1):
        if port not in named and not is_taken(host, port):
            return port
    raise BadArgument(f"no port from {FIRST_PORT} to {LAST_PORT} is free. Say one with --port.")


def check_persona_id(persona: str, directory: Path) -> None:
    """Raises ``BadArgument`` for an id that no new template in ``directory`` can have."""
    if not PERSONA_ID.fullmatch(persona):
        raise BadArgument(
            f"{persona!r} can't be the id of a persona: take lower case letters, digits and '-', a letter first, "
            f"64 characters at the most, such as {_nearest(persona).replace('_', '-')!r}."
        )
    if persona in RESERVED:
        raise BadArgument(f"{persona!r} is the name of a bare model. Take another id.")
    if not directory.is_dir():
        raise BadArgument(f"{directory} is no folder. OPEN_PERSONA_PERSONAS_DIR names the one of the templates.")
    if (directory / f"{persona}.md").exists():
        raise BadArgument(f"{directory / persona}.md is there already, and nothing was written. Take another id.")


def title_of(name: str) -> str:
    """``budget_check`` → ``Budget check``."""
    return re.sub(r"[_-]+", " ", name).strip().capitalize()


def _nearest(name: str) -> str:
    """A name that would do, made of this one."""
    words = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_").lstrip("0123456789_")
    return words[:LONGEST_NAME].rstrip("_") or "grants"
