"""``python -m hub`` as a process: it starts, serves, and ends at once on SIGTERM with a stream open."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from tests.hub.conftest import WriteManifest
from tests.hub.servers import free_address, yaml_at


async def start(tmp_path: Path, servers: Path, **env: str) -> asyncio.subprocess.Process:
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OPEN_PERSONA_")},
        "OPEN_PERSONA_HOME": str(tmp_path / "home"),
        "OPEN_PERSONA_MCP_SERVERS_DIR": str(servers),
        **env,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hub", env=variables, stderr=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )


@pytest.mark.real
@pytest.mark.requirement("hub:clean-shutdown")
async def test_it_serves_and_stops_cleanly(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path, write_manifest: WriteManifest
) -> None:
    write_manifest("dead", yaml_at(await free_address(), "dead"))
    url = await free_address()
    port = url.rsplit(":", 1)[1]
    process = await start(tmp_path, servers_dir, OPEN_PERSONA_SERVICE_KEY="k", OPEN_PERSONA_HUB_PORT=port)
    try:
        async with asyncio.timeout(20):
            while not await _answers(client, f"{url}/healthz"):
                await asyncio.sleep(0.05)
        async with client.get(f"{url}/api/v1/events") as stream:
            assert (await stream.content.readline()).startswith(b"event: revision")
            process.send_signal(signal.SIGTERM)
            started = time.monotonic()
            async with asyncio.timeout(10):
                _, errors = await process.communicate()
        assert time.monotonic() - started < 2.5
        assert (process.returncode, b"Traceback" in errors) == (0, False)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.real
async def test_without_a_key_it_stops_with_one_clear_line(tmp_path: Path, servers_dir: Path) -> None:
    process = await start(tmp_path, servers_dir)
    async with asyncio.timeout(20):
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.count(b"\n") == 1
    assert b"OPEN_PERSONA_SERVICE_KEY" in errors


@pytest.mark.real
async def test_without_a_folder_of_integrations_it_says_which_setting(tmp_path: Path) -> None:
    process = await start(tmp_path, tmp_path / "none", OPEN_PERSONA_SERVICE_KEY="k", OPEN_PERSONA_HUB_PORT="0")
    async with asyncio.timeout(20):
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"OPEN_PERSONA_MCP_SERVERS_DIR" in errors
    assert b"Traceback" not in errors


async def _answers(client: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with client.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
