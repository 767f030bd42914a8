"""What a hundred integrations cost: one status, one cycle of checks, one page in a browser.

Usage: ``.venv/bin/python tests/bench/hundred.py`` (``PYTHONPATH=.``). A hundred ``http`` manifests lead to one server
with ten tools each. Prints a table and one line of JSON; exit code 1 when a limit is missed.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from hub.mcp_http import open_client
from tests.bench.gateway import free_port
from tests.e2e.browser import open_browser

COUNT = 100
ASKED = 300
CYCLES = 3
READY_S = 60
LIMITS = {"status_p99_ms": 50.0, "cycle_cpu_s": 2.0, "page_render_s": 1.0, "filter_ms": 200.0}
KEY = "bench-key"

SERVER = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
text = {"type": "string", "description": "A field of the record that is looked for."}
schema = {"type": "object", "properties": {f"field_{n}": text for n in range(4)}}
tools = [{"name": f"tool_{n}", "description": "Looks for records by their fields. " * 4, "inputSchema": schema}
         for n in range(10)]
async def mcp(request):
    message = await request.json()
    result = {"supportedVersions": ["2026-07-28"], "capabilities": {}}
    if message["method"] == "tools/list":
        result = {"tools": tools}
    return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": result})
uvicorn.run(Starlette(routes=[Route("/mcp", mcp, methods=["POST"])]), port=int(sys.argv[1]), log_level="error")
"""


class RunningHub:
    """The hub as a process of its own."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], http: aiohttp.ClientSession) -> None:
        self.url = url
        self._process = process
        self._http = http

    def cpu_s(self) -> float:
        """Seconds of CPU that its process, all threads, has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def healthy(self) -> int:
        counts: dict[str, int] = json.loads(await self.status())["counts"]
        return counts["healthy"]

    async def status(self) -> bytes:
        async with self._http.get(f"{self.url}/status") as answer:
            return await answer.read()

    async def check_all(self) -> None:
        """One check of each, all at once."""
        await asyncio.gather(*(self._check(number) for number in range(COUNT)))

    async def _check(self, number: int) -> None:
        url = f"{self.url}/api/v1/integrations/service_{number:03}x/probe"
        async with self._http.post(url, headers={"Authorization": f"Bearer {KEY}"}) as answer:
            assert (await answer.json())["ok"], await answer.text()


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[RunningHub]:
    hub_port, port = free_port(), free_port()
    for number in range(COUNT):
        name = f"service_{number:03}x"
        (folder / "servers" / name).mkdir(parents=True)
        (folder / "servers" / name / "manifest.yaml").write_text(
            f"manifest_version: 1\nname: {name}\ntitle: Service {number}\ndescription: One of a hundred services.\n"
            f"transport: {{type: http, url: 'http://127.0.0.1:{port}/mcp'}}\n"
            "probe: {interval_s: 3600, timeout_s: 30}\n"
        )
    environ = {
        **os.environ, "PYTHONPATH": str(Path.cwd()), "OPEN_PERSONA_HUB_PORT": str(hub_port),
        "OPEN_PERSONA_MCP_SERVERS_DIR": str(folder / "servers"), "OPEN_PERSONA_HOME": str(folder / "home"),
        "OPEN_PERSONA_SERVICE_KEY": KEY,
    }  # fmt: skip
    with (folder / "log").open("w") as log:
        started = [
            subprocess.Popen([sys.executable, *one], env=environ, stderr=log, stdout=log)
            for one in (["-c", SERVER, str(port)], ["-m", "hub"])
        ]
        try:
            async with open_client() as http:
                hub = RunningHub(f"http://127.0.0.1:{hub_port}", started[1], http)
                await _ready(hub)
                yield hub
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(10)


async def _ready(hub: RunningHub) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            try:
                if await hub.healthy() == COUNT:
                    return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.3)


async def status_ms(hub: RunningHub) -> tuple[float, float]:
    """Median and 99th percentile of one status, while a cycle of checks runs now and then."""
    times = []
    for number in range(ASKED):
        begun = time.perf_counter()
        body = await hub.status()
        times.append((time.perf_counter() - begun) * 1000)
        assert json.loads(body)["counts"]["healthy"] == COUNT
        if number % 100 == 50:
            await hub.check_all()
    ordered = sorted(times)
    return statistics.median(ordered), ordered[int(len(ordered) * 0.99)]


async def cycle_cpu_s(hub: RunningHub) -> float:
    """CPU of a full cycle of checks, the asking for them included."""
    await hub.check_all()
    begun = hub.cpu_s()
    for _ in range(CYCLES):
        await hub.check_all()
    return (hub.cpu_s() - begun) / CYCLES


async def page_s(hub: RunningHub, picture: Path) -> dict[str, float]:
    """From the request to a painted page, and from a word in the filter to what it finds."""
    async with open_browser() as browser:
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        await page.goto(hub.url)
        begun = time.perf_counter()
        await page.reload(wait_until="load")
        await page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        painted = time.perf_counter() - begun
        picture.parent.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=picture)
        filtered = await page.evaluate(
            """async () => {
                const field = document.getElementById("filter"), begun = performance.now();
                field.value = "service_042x";
                field.dispatchEvent(new Event("input", { bubbles: true }));
                await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
                return performance.now() - begun;
            }"""
        )
        shown = await page.locator(".card:not([hidden])").count()
        assert shown == 1, shown
        size = len(await (await page.request.get(hub.url)).body())
    return {"page_render_s": painted, "filter_ms": filtered, "page_kb": size / 1024}


async def measure() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as hub:
            cycle = await cycle_cpu_s(hub)
            median, p99 = await status_ms(hub)
            page = await page_s(hub, Path(".artifacts") / "hub" / "hundred.png")
    found = {"status_p50_ms": median, "status_p99_ms": p99, "cycle_cpu_s": cycle, **page}
    return {name: round(value, 3) for name, value in found.items()}


def main() -> int:
    found = asyncio.run(measure())
    for name, value in found.items():
        limit = f"  (at most {LIMITS[name]:g})" if name in LIMITS else ""
        print(f"{name:<16} {value:>9.3f}{limit}")
    failed = sorted(name for name, limit in LIMITS.items() if found[name] > limit)
    print(json.dumps({"bench": "hundred", **found, "limits": LIMITS, "failed": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
