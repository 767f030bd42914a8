"""A checkout with one integration that keeps every rule, in which a test plants one fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hub.manifest_file import read_manifest
from hub.tools import read_tool
from open_persona.validate.judgement import judge
from open_persona.validate.problems import Examined, Problem
from open_persona.validate.subject import Listing, PortState, Subject

MANIFEST = """\
manifest_version: 1
name: sample
title: Sample
description: Samples of the tests.
documentation: README.md
transport: {type: python, port: 7050}
settings:
  - key: api_key
    title: API key
    secret: true
    required: true
    description: In Sample under Settings > API.
tools:
  find_samples: read
limits: {timeout_s: 25, max_result_bytes: 60000, calls_per_minute: 60}
probe: {interval_s: 30, timeout_s: 5, failures_before_down: 3, successes_before_up: 1}
"""

README = """\
# Sample

## What it does

Finds samples.

## Settings

`api_key`: in Sample under Settings > API.

## Tools

`find_samples` finds samples.

## Limits

None.

## Troubleshooting

Nothing is known to go wrong.
"""

SERVER = '''\
"""A server of the tests."""

from pathlib import Path
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from pydantic import Field

from mcp_servers.kit.app import create_app
from mcp_servers.kit.credentials import CallerSettings
from mcp_servers.kit.integration import READ, Integration
from mcp_servers.kit.serve import serve

INTEGRATION = Integration.from_folder(Path(__file__).parent)


def build_app() -> Any:
    server: MCPServer[Any] = MCPServer(INTEGRATION.name)

    @server.tool(annotations=READ)
    async def find_samples(
        ctx: Context,
        words: Annotated[str, Field(description="Words to look for")],
    ) -> str:
        """Find samples by the words in their names."""
        CallerSettings.of(ctx, INTEGRATION).require("api_key")
        return words

    return create_app(server, name=INTEGRATION.name)


if __name__ == "__main__":
    serve(build_app, name=INTEGRATION.name, default_port=7050)
'''

TEST = """\
from mcp_servers.sample.server import build_app


def test_it_is_built() -> None:
    assert build_app()
"""

TOOL: dict[str, object] = {
    "name": "find_samples",
    "description": "Find samples by the words in their names.",
    "inputSchema": {
        "type": "object",
        "properties": {"words": {"type": "string", "description": "Words to look for"}},
    },
    "annotations": {"readOnlyHint": True, "destructiveHint": False},
}


@dataclass(frozen=True)
class Checkout:
    """``mcp_servers/sample`` with its tests. ``judged`` runs the rules without starting anything."""

    base: Path
    name: str = "sample"

    @staticmethod
    def at(base: Path) -> Checkout:
        checkout = Checkout(base)
        checkout.write("manifest.yaml", MANIFEST)
        checkout.write("README.md", README)
        checkout.write("server.py", SERVER)
        tests = base / "tests" / "mcp_servers" / "sample"
        tests.mkdir(parents=True)
        (tests / "test_server.py").write_text(TEST)
        return checkout

    @property
    def root(self) -> Path:
        return self.base / "mcp_servers"

    @property
    def folder(self) -> Path:
        return self.root / self.name

    @property
    def test_file(self) -> Path:
        return self.base / "tests" / "mcp_servers" / "sample" / "test_server.py"

    def write(self, name: str, text: str | bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    def change(self, name: str, before: str, after: str) -> None:
        text = (self.folder / name).read_text()
        assert before in text
        self.write(name, text.replace(before, after))

    def judged(self, *tools: Mapping[str, object], problem: str = "", port: PortState | None = None) -> Examined:
        """``tools`` is what the server lists; without any, nobody asked it."""
        neighbours = [read_manifest(path) for path in sorted(self.root.iterdir()) if path != self.folder]
        listing = Listing(tuple(map(read_tool, tools)), problem) if tools or problem else None
        return judge(Subject(self.folder, read_manifest(self.folder), neighbours, listing, port))

    def line(self, name: str, text: str) -> int:
        """The line of a file in the folder that has the text."""
        lines = (self.folder / name).read_text().splitlines()
        return next(number for number, line in enumerate(lines, 1) if text in line)


def only(examined: Examined) -> Problem:
    """The one problem that was found; it says how to mend it."""
    (problem,) = examined.problems
    assert len(problem.mend.split()) > 1
    return problem


def at(problem: Problem) -> tuple[str, str, int]:
    return problem.rule, problem.file, problem.line
