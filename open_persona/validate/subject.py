"""What a rule looks at: one integration's folder, what its manifest says, and what its server lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from hub.manifest import Manifest, PythonTransport
from hub.manifest_file import MANIFEST, ManifestFile, YamlPath, nearest
from hub.tools import Tool
from open_persona.validate.problems import Level, Place
from open_persona.validate.sources import Source, files_of

PortState = Literal["free", "own", "foreign"]


@dataclass(frozen=True)
class Listing:
    """What a server answered: its tools, or a ``problem`` in words."""

    tools: tuple[Tool, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Subject:
    """One integration. ``neighbours`` are the other folders' manifests.

    ``listing`` is None where nobody asked the server, ``port`` where nobody looked at this machine.
    """

    folder: Path
    file: ManifestFile
    neighbours: Sequence[ManifestFile] = ()
    listing: Listing | None = None
    port: PortState | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def manifest(self) -> Manifest:
        """Only for rules that run where the manifest could be read."""
        if self.file.manifest is None:
            raise ValueError(f"{self.file.file} could not be read")
        return self.file.manifest

    @property
    def ours(self) -> bool:
        """Whether its server is code in its folder, and not somebody else's."""
        return isinstance(self.manifest.transport, PythonTransport)

    @property
    def severity(self) -> Level:
        """Of what a folder should have, and which one with nothing but a manifest can do without."""
        return "error" if self.ours else "warning"

    @property
    def documentation(self) -> Path:
        return self.folder / self.manifest.documentation

    @property
    def tests(self) -> Path | None:
        """Where the tests of an integration of a checkout lie; None for a folder outside one."""
        mirrored = self.folder.parent.parent / "tests" / "mcp_servers"
        return mirrored / self.name if mirrored.is_dir() else None

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        return tuple(files_of(self.folder))

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        return tuple(Source.read(path) for path in self.paths if path.suffix == ".py")

    def place(self, path: Path, line: int = 1) -> Place:
        """A place in a file, shown from the folder that holds the integrations' folder."""
        return Place(str(path.relative_to(self.folder.parent.parent)), line)

    def in_manifest(self, *path: str) -> Place:
        """The deepest part of ``path`` that the manifest has."""
        where: YamlPath = path
        return self.place(self.folder / MANIFEST, nearest(self.file.lines, where)[1])

    def of_tool(self, tool: str) -> Place:
        """Where the tool is written: its function, else where its name stands, else the manifest."""
        for source in self.sources:
            for function in source.functions:
                if function.name == tool:
                    return self.place(source.path, function.lineno)
        for source in self.sources:
            for text, line in source.strings:
                if text == tool:
                    return self.place(source.path, line)
        return self.in_manifest("tools", tool)

    def of_argument(self, tool: str, argument: str) -> Place:
        """Where the argument of the tool is written, else the tool."""
        for source in self.sources:
            for function in source.functions:
                if function.name == tool:
                    taken = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
                    for one in taken:
                        if one.arg == argument:
                            return self.place(source.path, one.lineno)
        return self.of_tool(tool)
