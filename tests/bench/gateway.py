"""What the gateway costs: ``tools/call`` through it ÷ straight to the same server, lists of 240 tools, and probes.

Hub and server are processes of their own; the driver is a keep-alive HTTP client of a few lines, since one of a library
would hide the difference. Rounds of both sides are interleaved. Times in milliseconds; the last line is JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from hub.manifest import Manifest
from hub.mcp_http import open_client
from hub.probe import Prober, Target

ROUNDS = 40
CALLS = 25
LISTS = 60
PROBED = 100
CYCLES = 5
MODERN = "2026-07-28"
TOKEN, KEY = "bench-runner", "bench-key"
RATIOS = [f"{era}_{at_once}_ratio" for at_once in (1, 16) for era in ("handshake", "modern")]
LIMITS = {**dict.fromkeys(RATIOS, 1.8), "list_ms": 15.0, "probe_cpu_ms": 15.0}

ECHO_PORT_ENV = "OPEN_PERSONA_MCP_PORT"

SERVER = """
from mcp.server import MCPServer
from mcp_servers.kit.app import create_app
from mcp_servers.kit.serve import serve
server = MCPServer("echo")
@server.tool()
def echo(text: str) -> str:
    "Say it again."
    return text
serve(lambda: create_app(server, name="echo"), name="echo", default_port=0)
"""

MANY = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
described = {"type": "string", "description": "A field of the record that is looked for."}
properties = {f"field_{n}": described for n in range(4)}
tools = [{"name": f"tool_{n:03}", "description": "Looks for records by their fields. " * 4,
          "inputSchema": {"type": "object", "properties": properties}} for n in range(240)]
async def mcp(request):
    message = await request.json()
    result = {"supportedVersions": ["2026-07-28"], "capabilities": {}}
    if message["method"] == "tools/list":
        result = {"tools": tools}
    return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": result})
uvicorn.run(Starlette(routes=[Route("/mcp", mcp, methods=["POST"])]), port=int(sys.argv[1]), log_level="error")
"""


@dataclass(frozen=True)
class Ports:
    hub: int
    echo: int
    many: int


class Connection:
    """One kept connection that posts one body after the other."""

    def __init__(self, port: int, path: str, token: str = "", *, modern: bool = False) -> None:
        self._port = port
        era = f"{MODERN}\r\nMcp-Method: tools/call\r\nMcp-Name: echo" if modern else "2025-11-25"
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {era}\r\n"
            + (f"Authorization: Bearer {token}\r\n" if token else "")
        ).encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> bytes:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=2**22)
        reader, writer = self._streams
        writer.write(self._head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"content-length: " in head:
            size = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            return await reader.readexactly(size)
        parts = []
        while size := int(await reader.readline(), 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readline()
        return b"".join(parts)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


def call(*, modern: bool) -> bytes:
    params: dict[str, object] = {"name": "echo", "arguments": {"text": "hello"}}
    if modern:
        key = "io.modelcontextprotocol/"
        params["_meta"] = {f"{key}protocolVersion": MODERN, f"{key}clientCapabilities": {}}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()


async def timed(connection: Connection, body: bytes, times: list[float]) -> None:
    for _ in range(CALLS):
        begun = time.perf_counter()
        answer = await connection.post(body)
        times.append((time.perf_counter() - begun) * 1000)
        assert b'"text":"hello"' in answer, answer


async def calls(ports: Ports, at_once: int, *, modern: bool) -> tuple[float, float]:
    """The median of one call, direct and through the gateway, with so many callers of one protocol era."""
    direct = [Connection(ports.echo, "/mcp", modern=modern) for _ in range(at_once)]
    through = [Connection(ports.hub, "/mcp/echo", TOKEN, modern=modern) for _ in range(at_once)]
    body = call(modern=modern)
    ours: list[float] = []
    bare: list[float] = []
    for number in range(-3, max(ROUNDS // at_once, 8)):
        for side, times in ((direct, bare), (through, ours)):
            kept: list[float] = []
            await asyncio.gather(*(timed(connection, body, kept) for connection in side))
            times.extend(kept if number >= 0 else ())
    for connection in (*direct, *through):
        connection.close()
    return statistics.median(bare), statistics.median(ours)


async def lists(hub_port: int) -> float:
    """The median of listing all 240 tools, page after page."""
    connection = Connection(hub_port, "/mcp/many", TOKEN)
    times = []
    for _ in range(LISTS):
        begun, cursor, found = time.perf_counter(), "", 0
        while cursor or not found:
            params = {"cursor": cursor} if cursor else {}
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params}).encode()
            result = json.loads(await connection.post(body))["result"]
            found += len(result["tools"])
            cursor = result.get("nextCursor", "")
        times.append((time.perf_counter() - begun) * 1000)
        assert found == 240
    connection.close()
    return statistics.median(times)


async def probes(port: int) -> float:
    """CPU milliseconds of the hub's own code for one probe, of a cycle of 100."""
    manifest = Manifest.model_validate(
        {
            "manifest_version": 1, "name": "echo", "title": "Echo", "description": "Echo.",
            "transport": {"type": "python", "port": port}, "tools": {"echo": "read"}, "probe": {"timeout_s": 30},
        }
    )  # fmt: skip
    base = f"http://127.0.0.1:{port}"
    target = Target(manifest, f"{base}/mcp", f"{base}/healthz")
    async with open_client() as client:
        prober = Prober(client)
        await prober.probe(target)
        begun = time.process_time()
        for _ in range(CYCLES):
            seen = await asyncio.gather(*(prober.probe(target) for _ in range(PROBED)))
            assert all(one.result.ok for one in seen), seen[0].result
        return (time.process_time() - begun) * 1000 / PROBED / CYCLES


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Ports]:
    """Hub and servers, each a process, with a lease for both integrations."""
    ports = Ports(free_port(), free_port(), free_port())
    many_tools = {f"tool_{number:03}": "read" for number in range(240)}
    for name, port, tools in (("echo", ports.echo, {"echo": "read"}), ("many", ports.many, many_tools)):
        (folder / "servers" / name).mkdir(parents=True)
        (folder / "servers" / name / "manifest.yaml").write_text(
            f"manifest_version: 1\nname: {name}\ntitle: {name.title()}\ndescription: A server of the benchmark.\n"
            f"transport: {{type: http, url: 'http://127.0.0.1:{port}/mcp'}}\ntools: {json.dumps(tools)}\n"
            "limits: {calls_per_minute: 10000000}\n"
        )
    environ = {
        **os.environ, "PYTHONPATH": str(Path.cwd()), "OPEN_PERSONA_HUB_PORT": str(ports.hub),
        "OPEN_PERSONA_MCP_SERVERS_DIR": str(folder / "servers"), "OPEN_PERSONA_HOME": str(folder / "home"),
        "OPEN_PERSONA_SERVICE_KEY": KEY, ECHO_PORT_ENV: str(ports.echo),
    }  # fmt: skip
    log = (folder / "log").open("w")
    commands = (["-c", SERVER], ["-c", MANY, str(ports.many)], ["-m", "hub"])
    started = [subprocess.Popen([sys.executable, *one], env=environ, stderr=log, stdout=log) for one in commands]
    ready = asyncio.Event()
    renewing = asyncio.create_task(renewed(ports, ready))
    try:
        async with asyncio.timeout(60):
            await ready.wait()
        yield ports
    finally:
        renewing.cancel()
        await asyncio.wait((renewing,))
        for process in started:
            process.terminate()
        for process in started:
            process.wait(10)
        log.close()


async def renewed(ports: Ports, ready: asyncio.Event) -> None:
    """Put the lease when both integrations are healthy, and again for as long as the benchmark runs."""
    grants = [{"integration": "echo", "tools": ["echo"]}, {"integration": "many", "tools": []}]
    runner = hashlib.sha256(TOKEN.encode()).hexdigest()
    body = {"runner": runner, "user": "bench", "persona": "bench", "grants": grants}
    bearer = {"Authorization": f"Bearer {KEY}"}
    url = f"http://127.0.0.1:{ports.hub}"
    async with open_client() as client:
        while not ready.is_set():
            with contextlib.suppress(OSError):
                async with client.get(f"{url}/status") as answer:
                    if (await answer.json())["counts"]["healthy"] == 2:
                        break
            await asyncio.sleep(0.2)
        while True:
            async with client.put(f"{url}/api/v1/leases/{'0' * 32}", json=body, headers=bearer) as answer:
                assert answer.status == 200, await answer.text()
            ready.set()
            await asyncio.sleep(10)


async def measure() -> dict[str, float]:
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as ports:
            for at_once in (1, 16):
                for era in ("handshake", "modern"):
                    bare, ours = await calls(ports, at_once, modern=era == "modern")
                    row = {"direct_ms": bare, "gateway_ms": ours, "ratio": ours / bare}
                    found |= {f"{era}_{at_once}_{name}": value for name, value in row.items()}
            found["list_ms"] = await lists(ports.hub)
            found["probe_cpu_ms"] = await probes(ports.echo)
    return {name: round(value, 3) for name, value in found.items()}


def main() -> int:
    logging.basicConfig(level=logging.WARNING)
    found = uvloop.run(measure())
    for name, value in found.items():
        limit = f"  (at most {LIMITS[name]:g})" if name in LIMITS else ""
        print(f"{name:<26} {value:>8.3f}{limit}")
    failed = sorted(name for name, limit in LIMITS.items() if found[name] > limit)
    print(json.dumps({"bench": "gateway", **found, "limits": LIMITS, "failed": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
