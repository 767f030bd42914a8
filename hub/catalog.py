"""All integrations as one immutable snapshot of their folders, and how one snapshot follows another."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hub.errors import SettingsError
from hub.folder import Folder
from hub.manifest import Manifest
from hub.manifest_file import Fault, ManifestFile
from hub.validate import judge

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Integration:
    """One folder. ``manifest`` is the version in use, None where none was ever good; ``faults`` are its folder's now.

    With both, the last good version serves while the folder holds a broken one.
    """

    name: str
    manifest: Manifest | None
    faults: tuple[Fault, ...] = ()

    @property
    def title(self) -> str:
        return self.manifest.title if self.manifest else self.name


@dataclass(frozen=True)
class Catalog:
    """The integrations sorted by name."""

    integrations: tuple[Integration, ...] = ()

    def __iter__(self) -> Iterator[Integration]:
        return iter(self.integrations)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(integration.name for integration in self.integrations)


NOTHING = Catalog()


def load_catalog(folder: Folder) -> Catalog:
    """The first catalog of a hub: of two integrations that clash, the one that sorts later is invalid.

    Raises:
        SettingsError: the folder can't be read.
    """
    try:
        files = folder.look()
    except OSError as error:
        raise SettingsError(f"OPEN_PERSONA_MCP_SERVERS_DIR: the folder can't be read: {error.strerror}.") from None
    catalog = succeeding(NOTHING, files)
    log_changes(NOTHING, catalog)
    return catalog


def succeeding(before: Catalog, files: Sequence[ManifestFile]) -> Catalog:
    """The catalog that follows ``before`` when the folders are these.

    A manifest at fault leaves the one that was in use; a folder that is gone leaves nothing.
    """
    serving = {one.name: one.manifest for one in before if one.manifest is not None}
    faults = judge(files, serving)
    return Catalog(tuple(_integration(file, serving.get(file.folder), faults[file.folder]) for file in files))


def _integration(file: ManifestFile, last: Manifest | None, faults: tuple[Fault, ...]) -> Integration:
    # An equal manifest stays the object that it was: what is built on it need not be built again.
    manifest = last if faults or file.manifest == last else file.manifest
    return Integration(file.folder, manifest, faults)


def log_changes(before: Catalog, after: Catalog) -> None:
    """One line for each integration that came, changed or went, and one for each new fault."""
    known = {one.name: one for one in before}
    for one in after:
        was = known.pop(one.name, Integration(one.name, None))
        if one.faults != was.faults:
            _log_faults(one)
        if one.manifest is not None and one.manifest is not was.manifest:
            logger.info("%s: %s", one.name, "its changed manifest is in use" if was.manifest else "is there")
    for name in known:
        logger.info("%s: has gone with its folder", name)


def _log_faults(one: Integration) -> None:
    meanwhile = " (the last good one serves)" if one.manifest else ""
    for fault in one.faults:
        logger.warning("invalid manifest: %s%s", fault, meanwhile)
    if not one.faults:
        logger.info("%s: its manifest is in order again", one.name)
