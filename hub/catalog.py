"""All integrations as one immutable snapshot of their folders."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hub.errors import SettingsError
from hub.manifest import Manifest
from hub.manifest_file import MANIFEST, Fault, read_manifest
from hub.validate import judge

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Integration:
    """One folder. A valid one has a manifest and no faults, an invalid one has faults (and no manifest)."""

    name: str
    manifest: Manifest | None
    faults: tuple[Fault, ...] = ()

    @property
    def title(self) -> str:
        return self.manifest.title if self.manifest else self.name


@dataclass(frozen=True)
class Catalog:
    """The integrations sorted by name; ``revision`` changes with any manifest or fault, and with nothing else."""

    integrations: tuple[Integration, ...]
    revision: str

    def __iter__(self) -> Iterator[Integration]:
        return iter(self.integrations)


def load_catalog(directory: Path) -> Catalog:
    """Read every folder of ``directory`` that has a ``manifest.yaml``.

    Raises:
        SettingsError: ``directory`` is not a folder that can be read.
    """
    try:
        folders = sorted(path for path in directory.iterdir() if _is_integration(path))
    except OSError as error:
        raise SettingsError(f"OPEN_PERSONA_MCP_SERVERS_DIR: the folder can't be read: {error.strerror}.") from None
    files = [read_manifest(folder) for folder in folders]
    faults = judge(files)
    integrations = tuple(
        Integration(file.folder, None if faults[file.folder] else file.manifest, faults[file.folder]) for file in files
    )
    for fault in (fault for integration in integrations for fault in integration.faults):
        logger.warning("invalid manifest: %s", fault)
    return Catalog(integrations, _revision(integrations))


def _is_integration(path: Path) -> bool:
    if path.name.startswith((".", "_")):
        return False
    try:
        (path / MANIFEST).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # reading it will say why
    return True


def _revision(integrations: tuple[Integration, ...]) -> str:
    digest = hashlib.sha256()
    for integration in integrations:
        body = integration.manifest.model_dump_json() if integration.manifest else ""
        digest.update(f"{integration.name}\0{body}\0{integration.faults}\0".encode(errors="replace"))
    return digest.hexdigest()[:16]
