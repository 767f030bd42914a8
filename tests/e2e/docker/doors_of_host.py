"""A sidecar and a hub on the host, which containers reach at their gateway: real processes on every address."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from open_persona.ports import free_ports
from tests.raw_calls import call

ROOT = Path(__file__).resolve().parents[3]
API_KEY, SERVICE_KEY = "the-api-key", "the-service-key"


@dataclass(frozen=True)
class Doors:
    """Their ports."""

    sidecar: int
    hub: int


@asynccontextmanager
async def running_doors(home: Path, token_key: str) -> AsyncIterator[Doors]:
    """They end with the block."""
    sidecar, hub = free_ports(2)
    (home / "servers").mkdir(parents=True)
    environment = {
        "PATH": "/usr/bin:/bin",
        "OPEN_PERSONA_HOME": str(home),
        "OPEN_PERSONA_SIDECAR_HOST": "0.0.0.0",
        "OPEN_PERSONA_SIDECAR_PORT": str(sidecar),
        "OPEN_PERSONA_HUB_HOST": "0.0.0.0",
        "OPEN_PERSONA_HUB_PORT": str(hub),
        "OPEN_PERSONA_HUB_URL": f"http://127.0.0.1:{hub}",
        "OPEN_PERSONA_MCP_SERVERS_DIR": str(home / "servers"),
        "OPEN_PERSONA_SIDECAR_API_KEY": API_KEY,
        "OPEN_PERSONA_SERVICE_KEY": SERVICE_KEY,
        "OPEN_PERSONA_TOKEN_KEY": token_key,
    }
    processes = [await _start(module, environment) for module in ("hub", "sidecar")]
    try:
        async with asyncio.timeout(40):
            for port in (hub, sidecar):
                while not await _answers(port):
                    await asyncio.sleep(0.05)
        yield Doors(sidecar, hub)
    finally:
        for process in processes:
            if process.returncode is None:
                process.terminate()
        async with asyncio.timeout(30):
            await asyncio.gather(*(process.wait() for process in processes))


async def _start(module: str, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, env=environment, cwd=ROOT, stderr=asyncio.subprocess.DEVNULL
    )


async def _answers(port: int) -> bool:
    try:
        return (await call(port, "GET", "/healthz")).status == 200
    except OSError:
        return False
