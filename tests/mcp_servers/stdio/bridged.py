"""A bridge to the stranger, in the test's own event loop behind a real socket."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcp import Client
from mcp.types import CallToolResult

from mcp_servers.kit.credentials import HEADER_PREFIX
from mcp_servers.stdio.bridge import Bridge
from mcp_servers.stdio.pool import Bounds
from mcp_servers.stdio.recipe import read_recipe
from tests.fakes.asgi_server import serve_app
from tests.mcp_servers.mcp_session import connected, text_of

STRANGER = Path(__file__).with_name("stranger.py")
QUICK = Bounds(first_delay_s=0.05, longest_delay_s=0.2, wait_s=10)

FOLDER = {"key": "folder", "title": "Folder", "example": "."}
TOKEN = {"key": "token", "title": "Token", "secret": True, "required": True, "env": "STRANGER_TOKEN"}
TEAM = {"key": "team", "title": "Team", "scope": "deployment", "secret": True, "env": "STRANGER_TEAM"}


def write_command(
    root: Path, settings: Sequence[Mapping[str, object]] = (), *arguments: str, port: int = 7999, **more: object
) -> Path:
    """The folder of an integration ``strange`` that runs the stranger: a manifest and nothing else."""
    folder = root / "strange"
    folder.mkdir(exist_ok=True)
    manifest = {
        "manifest_version": 1,
        "name": "strange",
        "title": "Strange",
        "description": "A stranger's.",
        "transport": {"type": "command", "port": port, "command": [sys.executable, str(STRANGER), *arguments]},
        "settings": [dict(setting) for setting in settings],
        **more,
    }
    partial = folder / "manifest.tmp"
    partial.write_text(yaml.safe_dump(manifest))
    partial.rename(folder / "manifest.yaml")
    return folder


@dataclass
class Bridged:
    url: str
    bridge: Bridge

    @property
    def programs(self) -> int:
        assert self.bridge._pool is not None
        return len(self.bridge._pool)

    @asynccontextmanager
    async def client(self, mode: str = "auto", **settings: str) -> AsyncIterator[Client]:
        headers = {HEADER_PREFIX + key.replace("_", "-"): value for key, value in settings.items()}
        async with connected(self.url, mode=mode, headers=headers) as client:
            yield client

    async def call(self, tool: str, arguments: Mapping[str, object] | None = None, **settings: str) -> CallToolResult:
        async with self.client(**settings) as client:
            return await client.call_tool(tool, dict(arguments or {}))

    async def said(self, tool: str, arguments: Mapping[str, object] | None = None, **settings: str) -> Any:
        result = await self.call(tool, arguments, **settings)
        assert not result.is_error, text_of(result)
        return json.loads(text_of(result))


@asynccontextmanager
async def bridged(
    folder: Path, bounds: Bounds = QUICK, *, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Bridged]:
    """``environ`` is what the launcher's environment has beside ``PATH``."""
    bridge = Bridge(read_recipe(folder), {"PATH": os.environ["PATH"], **(environ or {})}, bounds)
    async with serve_app(bridge.app()) as url:
        yield Bridged(url, bridge)


def logged(capfd: pytest.CaptureFixture[str]) -> str:
    return capfd.readouterr().err
