"""Integrations that hang, flood, die and come back: the turn that uses one is told, every other one is left alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from mcp.server import MCPServer

from mcp_servers.kit.app import create_app
from tests.e2e.process.deployment import (
    READ,
    Deployment,
    Shipped,
    free_port,
    make_server,
    running_deployment,
    switched_on,
    write_manifest,
)
from tests.fakes.asgi_server import AsgiApp
from tests.fakes.provider import Reply, ToolCall

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

DRAFT = "open-persona/grant-draft"
LIMIT_S = 1.5


def server(name: str) -> AsgiApp:
    """Healthy by every probe; its tools are not."""
    bad: MCPServer[None] = MCPServer(name)

    async def hang() -> str:
        await asyncio.Event().wait()
        return "never"

    def flood() -> str:
        return "x" * 10_000_000

    for tool in (hang, flood):
        bad.add_tool(tool, description="A tool of the tests.", annotations=READ)
    return create_app(bad, name=name)


def manifest(tmp: Path, name: str) -> Path:
    limits = {"limits": {"timeout_s": LIMIT_S, "max_result_bytes": 5000}}
    write_manifest(tmp, name, free_port(), {"hang": "read", "flood": "read"}, **limits)
    return tmp / name


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    tmp = tmp_path_factory.mktemp("neighbours")
    bad = Shipped(server("bad"), manifest(tmp / "shipped", "bad"))
    listed: dict[str, Mapping[str, str] | Shipped] = {"alpha": {"search": "read"}, "bad": bad}
    async with running_deployment(tmp / "run", integrations=listed) as running:
        await running.chat("warm up", model=DRAFT, meta=switched_on("alpha", "bad"))
        yield running


async def call(deployment: Deployment, tool: str, *on: str) -> tuple[str, float]:
    """What the model was told of its call, and the seconds that the turn took."""
    deployment.provider.script([Reply(tools=[ToolCall(tool, {})]), "done"])
    begun = time.monotonic()
    answer = await deployment.chat("go", model=DRAFT, meta=switched_on(*on))
    taken = time.monotonic() - begun
    deployment.provider.script("hello")
    assert answer.text == "done", answer
    return deployment.provider.requests[-1].tool_results[-1], taken


@pytest.mark.requirement("neighbours:hanging")
async def test_a_call_that_hangs_is_told_within_its_limit_and_delays_nobody(deployment: Deployment) -> None:
    hanging = asyncio.create_task(call(deployment, "bad_hang", "alpha", "bad"))
    count = len(deployment.provider.requests)
    await deployment.provider.wait_requests(count + 1)
    deployment.provider.script("quick")
    begun = time.monotonic()
    assert (await deployment.chat("hi", model=DRAFT, meta=switched_on("alpha"))).text == "quick"
    assert time.monotonic() - begun < 1 + LIMIT_S
    deployment.provider.script("done")
    result, taken = await hanging
    assert "bad" in result.lower()
    assert taken < LIMIT_S + 4


@pytest.mark.requirement("neighbours:flood")
async def test_ten_megabytes_are_refused_in_a_sentence(deployment: Deployment) -> None:
    result, taken = await call(deployment, "bad_flood", "bad")
    assert len(result) < 1000
    assert "larger than" in result
    assert taken < LIMIT_S + 4


@pytest.mark.requirement("neighbours:restart-in-a-turn")
async def test_one_that_restarts_between_two_calls_of_a_turn_is_reached_again(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        app = create_app(make_server("beta", {"find": "read"}), name="beta")
        seldom = {"interval_s": 60, "timeout_s": 2, "failures_before_down": 3}  # so that no check falls between
        write_manifest(tmp_path / "shipped", "beta", free_port(), {"find": "read"}, probe=seldom)
        listed = {"beta": Shipped(app, tmp_path / "shipped" / "beta")}
        deployment = await stack.enter_async_context(running_deployment(tmp_path / "run", integrations=listed))
        gate = asyncio.Event()
        again = Reply(text=["a", "b"], tools=[ToolCall("beta_find", {"words": "two"})], gate=gate)
        deployment.provider.script([Reply(tools=[ToolCall("beta_find", {"words": "one"})]), again, "done"])
        turn = asyncio.create_task(deployment.chat("go", model=DRAFT, meta=switched_on("beta")))
        await deployment.provider.wait_requests(2)
        await deployment.restart("beta", create_app(make_server("beta", {"find": "read"}), name="beta"))
        gate.set()
        assert (await asyncio.wait_for(turn, 30)).text.endswith("done")
        assert deployment.provider.requests[-1].tool_results == ["beta.find found: one", "beta.find found: two"]


@pytest.mark.requirement("neighbours:down")
async def test_one_that_dies_is_left_out_and_returns_by_itself(tmp_path: Path) -> None:
    write_manifest(tmp_path / "shipped", "beta", free_port(), {"find": "read"})
    app = create_app(make_server("beta", {"find": "read"}), name="beta")
    beta = Shipped(app, tmp_path / "shipped" / "beta")
    listed: dict[str, Mapping[str, str] | Shipped] = {"beta": beta, "alpha": {"search": "read"}}
    async with running_deployment(tmp_path / "run", integrations=listed) as deployment:
        await deployment.chat("warm up", model=DRAFT, meta=switched_on("alpha", "beta"))
        await deployment.stop("beta")
        await until(deployment, ["alpha_search"])
        await deployment.restart("beta", create_app(make_server("beta", {"find": "read"}), name="beta"))
        await until(deployment, ["alpha_search", "beta_find"])


async def until(deployment: Deployment, offered: list[str]) -> None:
    """Turns are quick meanwhile, and soon offer just these tools."""
    async with asyncio.timeout(20):
        while True:
            begun = time.monotonic()
            answer = await deployment.chat("hi", model=DRAFT, meta=switched_on("alpha", "beta"))
            assert answer.text == "hello"
            assert time.monotonic() - begun < 3
            if deployment.provider.requests[-1].tool_names == offered:
                return
