"""Asking a server what it lists: a python folder's in a process of its own, any other where it runs.

The process gets a free port, nothing of this one's environment but what Python needs, and ends with the question.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import aiohttp

from hub.manifest import HttpTransport, Manifest
from hub.probe import Prober, target_of
from hub.text import clean
from open_persona.ports import free_ports, is_taken
from open_persona.validate.subject import Listing, PortState

LOOPBACK = "127.0.0.1"
START_S = 20.0
ANSWER_S = 10.0
STOP_S = 5.0
POLL_S = 0.05
LAST_BYTES = 4096
PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT")


async def ask_own(folder: Path, manifest: Manifest) -> Listing:
    """Start the ``server.py`` of ``folder``, ask for its tools, and end it, within about half a minute at the most."""
    (port,) = free_ports(1)
    async with _running(folder, port) as (process, output):
        ended = asyncio.create_task(process.wait())
        try:
            async with asyncio.timeout(START_S):
                while not await _listens(port):
                    if ended.done():
                        return Listing(problem=f"the server ended as soon as it was started{_last_words(output)}")
                    await asyncio.wait({ended}, timeout=POLL_S)
        except TimeoutError:
            return Listing(problem=f"the server does not listen on its port after {START_S:g} s")
        finally:
            ended.cancel()
        moved = manifest.model_copy(update={"transport": manifest.transport.model_copy(update={"port": port})})
        return await ask_running(moved, LOOPBACK)


async def ask_running(manifest: Manifest, host: str) -> Listing:
    """Ask a server that runs already, at its port on ``host`` or at its URL."""
    patient = manifest.model_copy(update={"probe": manifest.probe.model_copy(update={"timeout_s": ANSWER_S})})
    async with aiohttp.ClientSession() as client:
        seen = await Prober(client).probe(target_of(patient, host))
    if not seen.result.ok:
        return Listing(problem=f"the server gives no list of tools: {seen.result.reason}: {seen.result.detail}")
    return Listing(tools=seen.tools)


async def _listens(port: int) -> bool:
    """By a connection: trying to listen there would take the port from the server."""
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


async def port_state(manifest: Manifest, host: str) -> PortState | None:
    """Whether the integration's port is free here, held by its own server, or by something else. None without one."""
    if isinstance(manifest.transport, HttpTransport):
        return None
    port = manifest.transport.port
    if not is_taken(host, port):
        return "free"
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/healthz"
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_S)) as client, client.get(url) as answer:
            said = await answer.json()
    except (OSError, ValueError, TimeoutError, aiohttp.ClientError):
        return "foreign"
    return "own" if isinstance(said, Mapping) and said.get("name") == manifest.name else "foreign"


@asynccontextmanager
async def _running(folder: Path, port: int) -> AsyncIterator[tuple[asyncio.subprocess.Process, BinaryIO]]:
    """The process, and the file that it writes to: a pipe that nobody reads would stop it when full."""
    with TemporaryFile() as output:
        process = await _started(folder, port, output)
        try:
            yield process, output
        finally:
            await _end(process)


async def _started(folder: Path, port: int, output: BinaryIO) -> asyncio.subprocess.Process:
    # -P: a module in the working directory must not stand in for one of ours.
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "mcp_servers.run",
        str(folder),
        env=_environment(port),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def _environment(port: int) -> dict[str, str]:
    """No variable of ours and no key: what the server lists depends on neither."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    path = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]))
    ours = {"OPEN_PERSONA_MCP_HOST": LOOPBACK, "OPEN_PERSONA_MCP_PORT": str(port)}
    return {**kept, **ours, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM to the group, SIGKILL after a while; returns when it is gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await process.wait()
                return


def _last_words(output: BinaryIO) -> str:
    """The last line that it wrote, after a colon."""
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - LAST_BYTES))
    said = output.read().decode("utf-8", "replace").strip()
    return f": {clean(said.splitlines()[-1], 200)}" if said else ""
