"""What the hub's tests share: one HTTP client per test, and folders of manifests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from hub.mcp_http import open_client
from hub.probe import Prober

WriteManifest = Callable[[str, str], Path]


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_client() as session:
        yield session


@pytest.fixture
def prober(client: aiohttp.ClientSession) -> Prober:
    return Prober(client)


@pytest.fixture
def servers_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "mcp_servers"
    directory.mkdir()
    return directory


@pytest.fixture
def write_manifest(servers_dir: Path) -> WriteManifest:
    def write(folder: str, text: str) -> Path:
        (servers_dir / folder).mkdir()
        (servers_dir / folder / "manifest.yaml").write_text(text, "utf-8")
        return servers_dir / folder

    return write
