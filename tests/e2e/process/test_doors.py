"""What a runner can reach with its token: its two doors, during a turn, as far as the turn's lease goes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import pytest_asyncio

from sidecar.identity import runner_name, runner_token, workspace_hash
from tests.e2e.process.deployment import SERVICE_KEY, Deployment, running_deployment, switched_on
from tests.e2e.process.processes import environment_of, opencode_of
from tests.fakes.provider import Reply, ToolCall

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

DRAFT = "open-persona/grant-draft"
ASK = """
import json, sys, urllib.request, urllib.error
method, url, body, headers = json.loads(sys.stdin.read())
request = urllib.request.Request(url, body.encode() if body else None, headers, method=method)
try:
    with urllib.request.urlopen(request, timeout=10) as answer:
        print(json.dumps([answer.status, answer.read().decode()]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, error.read().decode()]))
"""
"""What ``curl`` would do, for machines without it; run with the runner's own environment."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    listed = {"alpha": {"search": "read", "save": "write"}, "beta": {"lookup": "read"}}
    options = {"integrations": listed, "process_shared": True}
    async with running_deployment(tmp_path_factory.mktemp("doors"), **options) as running:  # type: ignore[arg-type]
        await running.chat("warm up")
        yield running


@dataclass
class Inside:
    """A program in the runner's environment."""

    deployment: Deployment
    environment: dict[str, str]

    @property
    def token(self) -> str:
        return self.environment["OPEN_PERSONA_RUNNER_TOKEN"]

    async def ask(self, method: str, url: str, body: object = None, **headers: str) -> tuple[int, str]:
        sent = {"authorization": f"Bearer {self.token}", "content-type": "application/json", **headers}
        sent |= {"accept": "application/json, text/event-stream"}
        text = json.dumps([method, url, json.dumps(body) if body is not None else "", sent])
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", ASK],
            input=text,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        status, answer = json.loads(done.stdout)
        return int(status), str(answer)

    async def call(self, integration: str, tool: str, **headers: str) -> tuple[int, str]:
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": {"words": "x"}},
        }
        more = {"mcp-protocol-version": "2025-11-25", **headers}
        return await self.ask("POST", f"{self.deployment.hub_url}/mcp/{integration}", body, **more)

    async def model(self, path: str, **body: object) -> tuple[int, str]:
        whole = {"model": "m1", "messages": [{"role": "user", "content": "x"}], **body}
        return await self.ask("POST", f"{self.deployment.url}/llm/compatible/v1/{path}", whole)


def inside(deployment: Deployment) -> Inside:
    live = deployment.services.turns.pool.live[0]
    return Inside(deployment, environment_of(opencode_of(live.spec.private)))


@asynccontextmanager
async def during_a_turn(deployment: Deployment) -> AsyncIterator[Inside]:
    """A turn with ``alpha`` on, narrowed to one tool, that runs until the block is left."""
    gate = asyncio.Event()
    deployment.provider.script([Reply(text=["a", "b"], gate=gate), "done"])
    count = len(deployment.provider.requests)
    turn = asyncio.create_task(deployment.chat("go", model=DRAFT, meta=switched_on(alpha=["search"])))
    await deployment.provider.wait_requests(count + 1)
    try:
        yield inside(deployment)
    finally:
        gate.set()
        await turn
        deployment.provider.script("hello")
        await deployment.idle()


@pytest.mark.requirement("doors:open-in-a-turn")
async def test_during_a_turn_what_is_on_works(deployment: Deployment) -> None:
    async with during_a_turn(deployment) as runner:
        status, answer = await runner.call("alpha", "search")
        assert status == 200
        assert "alpha.search found: x" in answer
        status, answer = await runner.model("chat/completions", stream=True)
        assert (status, "done" in answer) == (200, True)


@pytest.mark.requirement("doors:denied-equals-unknown")
async def test_what_is_off_is_answered_as_what_does_not_exist(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    async with during_a_turn(deployment) as runner:
        caplog.clear()
        caplog.set_level(logging.INFO, "hub.audit")
        off = await runner.call("beta", "lookup")
        assert off == await runner.call("nothing", "lookup")
        assert "lookup found" not in off[1]
        narrowed = await runner.call("alpha", "save")
        assert narrowed == await runner.call("alpha", "nothing")
        assert "save found" not in narrowed[1]
        async with asyncio.timeout(5):
            while len(audit := [one for one in caplog.records if one.name == "hub.audit"]) < 4:
                await asyncio.sleep(0.01)
        assert len(audit) == 4


@pytest.mark.requirement("doors:closed-after-the-turn")
async def test_after_the_turn_both_doors_are_closed(deployment: Deployment) -> None:
    async with during_a_turn(deployment) as runner:
        refused = await runner.call("nothing", "x")
    assert await runner.call("alpha", "search") == refused
    status, answer = await runner.model("chat/completions")
    assert status == 403
    assert "hello" not in answer


@pytest.mark.requirement("doors:own-token-only")
async def test_a_changed_token_and_another_users_open_nothing(deployment: Deployment) -> None:
    settings, live = deployment.services.settings, deployment.services.turns.pool.live[0]
    bob = runner_token(settings.token_key, runner_name(workspace_hash("bob"), live.spec.key_sig)).get_secret_value()
    async with during_a_turn(deployment) as runner:
        refused = await runner.call("nothing", "x")
        for token in (runner.token[:-1] + ("0" if runner.token[-1] != "0" else "1"), bob, "", "x" * 5000):
            assert await runner.call("alpha", "search", authorization=f"Bearer {token}") == refused
            status, _ = await runner.ask(
                "POST",
                f"{deployment.url}/llm/compatible/v1/chat/completions",
                {"model": "m1", "messages": []},
                authorization=f"Bearer {token}",
            )
            assert status == 403


@pytest.mark.requirement("doors:no-other-route")
async def test_every_other_route_is_a_404_to_a_runner(deployment: Deployment) -> None:
    lease = {"runner": hashlib.sha256(b"x").hexdigest(), "user": "u", "persona": "p", "grants": []}
    asked = [
        ("GET", deployment.url, "/healthz", None),
        ("GET", deployment.url, "/v1/models", None),
        ("POST", deployment.url, "/v1/chat/completions", {"model": DRAFT}),
        ("POST", deployment.url, "/v1/open-persona/config", {}),
        ("GET", deployment.url, "/metrics", None),
        ("GET", deployment.hub_url, "/healthz", None),
        ("GET", deployment.hub_url, "/status", None),
        ("GET", deployment.hub_url, "/", None),
        ("GET", deployment.hub_url, "/metrics", None),
        ("GET", deployment.hub_url, "/api/v1/integrations", None),
        ("POST", deployment.hub_url, "/api/v1/integrations/alpha/probe", {}),
        ("PUT", deployment.hub_url, f"/api/v1/leases/{uuid.uuid4().hex}", lease),
    ]
    async with during_a_turn(deployment) as runner:
        for method, base, path, body in asked:
            status, _ = await runner.ask(method, base + path, body)
            assert status == 404, (method, path)


@pytest.mark.requirement("doors:broker-refuses")
async def test_the_broker_refuses_what_the_turn_may_not(deployment: Deployment) -> None:
    async with during_a_turn(deployment) as runner:
        seen = len(deployment.provider.requests)
        refused = [
            await runner.model("files"),
            await runner.model("models"),
            await runner.model("chat/completions", model="m2"),
            await runner.model("chat/completions", tools=[{"type": "web_search"}]),
            await runner.model("chat/completions", store=True, previous_response_id="r1"),
            await runner.ask("GET", f"{deployment.url}/llm/compatible/v1/chat/completions/stored"),
            await runner.ask("POST", f"{deployment.url}/llm/openai/v1/responses", {"model": "m1", "input": "x"}),
        ]
        assert {status for status, _ in refused} == {403}
        assert len({answer for _, answer in refused}) == 1
        assert len(deployment.provider.requests) == seen


async def test_the_service_key_is_in_no_runner(deployment: Deployment) -> None:
    assert SERVICE_KEY not in str(inside(deployment).environment)


@pytest.mark.requirement("doors:settings-reach-the-server")
async def test_the_users_settings_reach_the_server_and_no_runner(deployment: Deployment) -> None:
    deployment.provider.script([Reply(tools=[ToolCall("alpha_search", {"words": "x"})]), "done"])
    answer = await deployment.chat("go", model=DRAFT, meta=switched_on("alpha"))
    assert answer.text == "done"
    assert deployment.provider.requests[-1].tool_results == ["alpha.search found: x"]
    deployment.provider.script("hello")
