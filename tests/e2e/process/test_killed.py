"""The hub or the sidecar is killed in the middle of a turn: nothing hangs, nothing stays open."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.process.deployment import (
    SERVICE_KEY,
    Deployment,
    free_port,
    probe_all,
    running_sidecar,
    serve_integration,
    sidecar_settings,
    switched_on,
)
from tests.e2e.process.processes import environment_of, opencode_of
from tests.e2e.process.test_runners import start_sidecar
from tests.fakes.provider import FakeProvider, Reply, ToolCall, running_provider

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[3]
TOOLS = {"search": "read"}
DRAFT = "open-persona/grant-draft"


class HubProcess:
    """``python -m hub`` on a port of its own, to be killed and started again."""

    def __init__(self, root: Path, home: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            "PATH": os.environ["PATH"],
            "OPEN_PERSONA_HOME": str(home),
            "OPEN_PERSONA_HUB_PORT": str(self.port),
            "OPEN_PERSONA_MCP_SERVERS_DIR": str(root),
            "OPEN_PERSONA_SERVICE_KEY": SERVICE_KEY,
        }
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", "hub"], env=self._environment, cwd=ROOT)
        async with asyncio.timeout(30), httpx.AsyncClient() as client:
            while True:
                try:
                    await client.get(f"{self.url}/healthz")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
        await probe_all(self.url, ["alpha"])

    async def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(self._process.wait, 10)
            self._process = None


@asynccontextmanager
async def hub_and_provider(tmp: Path) -> AsyncIterator[tuple[HubProcess, FakeProvider]]:
    root = tmp / "mcp_servers"
    root.mkdir()
    async with AsyncExitStack() as stack:
        await serve_integration(stack, root, "alpha", TOOLS)
        provider = await stack.enter_async_context(running_provider("hello"))
        hub = HubProcess(root, tmp / "hub")
        stack.push_async_callback(hub.kill)
        await hub.start()
        yield hub, provider


@asynccontextmanager
async def deployed(tmp: Path) -> AsyncIterator[tuple[Deployment, HubProcess]]:
    async with hub_and_provider(tmp) as (hub, provider), httpx.AsyncClient(timeout=60) as client:
        port = free_port()
        settings = sidecar_settings(tmp / "home", provider.url, hub.url, port)
        async with running_sidecar(settings) as services:
            url = f"http://127.0.0.1:{port}"
            yield Deployment(url, hub.url, tmp / "home", provider, client, services), hub


@pytest.mark.requirement("killed:hub")
async def test_a_killed_hub_ends_the_turn_well_or_clearly_and_the_next_one_works(tmp_path: Path) -> None:
    async with deployed(tmp_path) as (deployment, hub):
        gate = asyncio.Event()
        call = Reply(text=["I look. ", "Now."], tools=[ToolCall("alpha_search", {"words": "x"})], gate=gate)
        deployment.provider.script([call, "it was not to be had"])
        turn = asyncio.create_task(deployment.chat("go", model=DRAFT, meta=switched_on("alpha")))
        await deployment.provider.wait_requests(1)
        await hub.kill()
        gate.set()
        answer = await asyncio.wait_for(turn, 60)
        assert answer.text.endswith("it was not to be had")
        assert (answer.done, len(answer.terminals)) == (1, 1)
        assert "found" not in deployment.provider.requests[-1].tool_results[-1]
        without = await deployment.chat("and now?", model=DRAFT, meta=switched_on("alpha"))
        assert any("left out" in line for line in without.statuses)
        await hub.start()
        await works_again(deployment)


@pytest.mark.requirement("killed:hub-restart-renews")
async def test_a_restart_of_the_hub_costs_a_running_turn_one_renewal(tmp_path: Path) -> None:
    async with deployed(tmp_path) as (deployment, hub):
        gate = asyncio.Event()
        call = Reply(text=["I look. ", "Now."], tools=[ToolCall("alpha_search", {"words": "x"})], gate=gate)
        deployment.provider.script([call, "there it is"])
        turn = asyncio.create_task(deployment.chat("go", model=DRAFT, meta=switched_on("alpha")))
        await deployment.provider.wait_requests(1)
        boot = deployment.services.turns.hub.boot_id
        await hub.kill()
        await hub.start()
        await asyncio.wait_for(deployment.services.turns.hub.restarted(boot), 10)
        await lease_is_back(deployment)
        gate.set()
        assert (await asyncio.wait_for(turn, 60)).text.endswith("there it is")
        assert deployment.provider.requests[-1].tool_results == ["alpha.search found: x"]


async def works_again(deployment: Deployment) -> None:
    """The integration is back within seconds of the hub's return."""
    async with asyncio.timeout(30):
        while True:
            deployment.provider.script([Reply(tools=[ToolCall("alpha_search", {"words": "x"})]), "found it"])
            await deployment.chat("again", model=DRAFT, meta=switched_on("alpha"))
            results = deployment.provider.requests[-1].tool_results
            if results and results[-1] == "alpha.search found: x":
                return
            await asyncio.sleep(0.2)


async def lease_is_back(deployment: Deployment) -> None:
    live = deployment.services.turns.pool.live[0]
    token = environment_of(opencode_of(live.spec.private))["OPEN_PERSONA_RUNNER_TOKEN"]
    async with asyncio.timeout(10):
        while await call_status(deployment.client, deployment.hub_url, token) != 200:
            await asyncio.sleep(0.05)


async def call_status(client: httpx.AsyncClient, hub_url: str, token: str) -> int:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    headers = {"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"}
    response = await client.post(f"{hub_url}/mcp/alpha", json=body, headers=headers)
    return response.status_code


@pytest.mark.requirement("killed:sidecar-leases-end")
async def test_the_leases_of_a_killed_sidecar_end_within_their_time(tmp_path: Path) -> None:
    async with hub_and_provider(tmp_path) as (hub, provider), httpx.AsyncClient(timeout=60) as client:
        provider.script(Reply(text=["a", "b"], gate=asyncio.Event()))
        port = free_port()
        process = start_sidecar(tmp_path / "home", provider.url, port, hub.url)
        try:
            turn = asyncio.create_task(ask(client, port))
            await provider.wait_requests(1, timeout_s=60)
            (private,) = (tmp_path / "home" / "runners").glob("*/*")
            token = environment_of(opencode_of(private))["OPEN_PERSONA_RUNNER_TOKEN"]
            assert await call_status(client, hub.url, token) == 200
        finally:
            process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(process.wait, 10)
        await asyncio.gather(turn, return_exceptions=True)
        async with asyncio.timeout(31):
            while await call_status(client, hub.url, token) == 200:
                await asyncio.sleep(0.2)


async def ask(client: httpx.AsyncClient, port: int) -> None:
    """One turn with ``alpha`` on, at a sidecar that may still be starting and is going to be killed."""
    deployment = Deployment(f"http://127.0.0.1:{port}", "", Path(), None, client, None)  # type: ignore[arg-type]
    async with asyncio.timeout(60):
        while True:
            try:
                await client.get(f"{deployment.url}/healthz")
                break
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    await deployment.chat("go", model=DRAFT, meta=switched_on("alpha"))
