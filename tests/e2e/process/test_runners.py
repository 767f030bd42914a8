"""Runners in ``process`` mode: started once, replaced when the keys change, stopped when idle, never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.e2e.process.deployment import (
    API_KEY,
    SERVICE_KEY,
    TOKEN_KEY,
    Answer,
    Deployment,
    free_port,
    running_deployment,
    sidecar_settings,
)
from tests.e2e.process.processes import processes_of
from tests.fakes.provider import Reply, running_provider

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
KEY = "x-openpersona-compatible-api-key"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    tmp = tmp_path_factory.mktemp("runners")
    async with running_deployment(tmp, process_shared=True, key_change_wait_s=1, max_runners=2) as running:
        yield running


@pytest.mark.requirement("runner:single-flight")
async def test_twenty_first_turns_at_once_start_one_runner(deployment: Deployment) -> None:
    answers = await asyncio.gather(*(deployment.chat(f"hi {n}") for n in range(20)))
    assert {answer.text for answer in answers} == {"hello"}
    assert len(deployment.services.turns.pool.live) == 1
    starts = [line for answer in answers for line in answer.statuses if line.startswith("Starting")]
    assert len(starts) == 1


@pytest.mark.requirement("keys:users-own")
async def test_the_users_own_key_goes_to_the_provider_and_a_changed_one_keeps_the_memory(
    deployment: Deployment,
) -> None:
    await deployment.chat("my hill is the Brocken", chat="c", answer="a1", **{KEY: "key-one"})
    assert deployment.provider.requests[-1].key == "key-one"
    old = deployment.services.turns.pool.live[0]
    answer = await deployment.chat("which hill?", chat="c", answer="a2", parent="a1", **{KEY: "key-two"})
    assert answer.terminals == ["stop"]
    assert deployment.provider.requests[-1].key == "key-two"
    assert deployment.provider.requests[-1].user_texts == ["my hill is the Brocken", "which hill?"]
    new = deployment.services.turns.pool.live[0]
    assert old.gone.is_set()
    assert not old.spec.private.exists()
    assert old.spec.workspace == new.spec.workspace


@pytest.mark.requirement("keys:wait-for-turns")
async def test_a_changed_key_waits_for_running_turns_and_then_says_why_not(deployment: Deployment) -> None:
    gate = asyncio.Event()
    deployment.provider.script([Reply(text=["slow ", "end"], gate=gate), "next"])
    count = len(deployment.provider.requests)
    slow = asyncio.create_task(deployment.chat("wait", **{KEY: "key-two"}))
    await deployment.provider.wait_requests(count + 1)
    refused = await deployment.chat("now", **{KEY: "key-three"})
    assert refused.error["code"] == "busy"
    assert any("waiting for your running answers" in line for line in refused.statuses)
    gate.set()
    assert (await slow).text == "slow end"
    assert (await deployment.chat("now", **{KEY: "key-three"})).text == "next"
    deployment.provider.script("hello")


@pytest.mark.requirement("runner:cap")
async def test_over_the_cap_an_idle_runner_makes_room_and_a_busy_one_does_not(deployment: Deployment) -> None:
    await deployment.chat("hi", user="bob")
    assert (await deployment.chat("hi", user="eve")).text == "hello"
    assert len(deployment.services.turns.pool.live) == 2
    gate = asyncio.Event()
    deployment.provider.script(Reply(text=["a", "b"], gate=gate))
    count = len(deployment.provider.requests)
    users = [live.spec.workspace_hash for live in deployment.services.turns.pool.live]
    assert len(users) == 2
    busy = [asyncio.create_task(deployment.chat("wait", user=user)) for user in ("bob", "eve")]
    await deployment.provider.wait_requests(count + 2)
    refused = await deployment.chat("hi", user="zoe", stream=False)
    assert (refused.status, refused.error["code"]) == (429, "overloaded")
    gate.set()
    await asyncio.gather(*busy)
    deployment.provider.script("hello")


@pytest.mark.requirement("runner:idle")
async def test_an_idle_runner_is_stopped_and_never_one_in_a_turn(tmp_path: Path) -> None:
    async with running_deployment(tmp_path, runner_idle_s=0.4) as deployment:
        gate = asyncio.Event()
        deployment.provider.script(Reply(text=["a", "b"], gate=gate))
        turn = asyncio.create_task(deployment.chat("wait"))
        await deployment.provider.wait_requests(1, 40)
        (live,) = deployment.services.turns.pool.live
        live.used_at -= 60
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(live.gone.wait(), 1)
        gate.set()
        assert (await turn).text == "ab"
        await asyncio.wait_for(live.gone.wait(), 10)
        assert deployment.services.turns.pool.live == ()
        deployment.provider.script("back")
        assert (await deployment.chat("again")).text == "back"


@pytest.mark.requirement("runner:missing")
async def test_a_missing_opencode_is_named_and_the_next_turn_works(tmp_path: Path) -> None:
    async with running_deployment(tmp_path) as deployment:
        fields = deployment.services.turns.settings.__dict__
        real, fields["opencode_bin"] = fields["opencode_bin"], str(tmp_path / "nothing")
        answer = await deployment.chat("hi", stream=False)
        assert (answer.status, answer.error["code"]) == (503, "runner_missing")
        assert "open-persona setup" in str(answer.error["message"])
        fields["opencode_bin"] = str(no_opencode(tmp_path))
        answer = await deployment.chat("hi", stream=False)
        assert answer.error["code"] == "runner_start"
        fields["opencode_bin"] = real
        assert (await deployment.chat("hi")).text == "hello"


@pytest.mark.requirement("runner:version")
async def test_another_version_of_opencode_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.runners.process.VERSION", "0.0.1")
    async with running_deployment(tmp_path) as deployment:
        answer = await deployment.chat("hi", stream=False)
        assert (answer.status, answer.error["code"]) == (503, "runner_version")
        assert "0.0.1 is needed" in str(answer.error["message"])
        assert processes_of(tmp_path / "home" / "runners") == []


def no_opencode(tmp_path: Path) -> Path:
    """A program that ends at once, as one that is no opencode would."""
    path = tmp_path / "fake-opencode"
    path.write_text("#!/bin/sh\necho not opencode\nexit 3\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.requirement("runner:no-orphan")
async def test_no_runner_outlives_a_killed_sidecar(tmp_path: Path) -> None:
    async with running_provider("hello") as provider, httpx.AsyncClient(timeout=60) as client:
        port = free_port()
        process = start_sidecar(tmp_path, provider.url, port)
        try:
            answer = await turn(client, port)
            assert answer.text == "hello"
            runners = processes_of(tmp_path / "runners")
            assert len(runners) >= 1
        finally:
            process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(process.wait, 10)
        async with asyncio.timeout(15):
            while processes_of(tmp_path / "runners"):
                await asyncio.sleep(0.05)


def start_sidecar(
    home: Path, provider_url: str, port: int, hub_url: str = "http://127.0.0.1:9", **more: str
) -> subprocess.Popen[bytes]:
    """``python -m sidecar``, to be killed; by default with a hub that is away."""
    settings = sidecar_settings(home, provider_url, hub_url, port)
    environment = {
        "PATH": os.environ["PATH"],
        "OPEN_PERSONA_HOME": str(home),
        "OPEN_PERSONA_SIDECAR_PORT": str(port),
        "OPEN_PERSONA_SIDECAR_API_KEY": API_KEY,
        "OPEN_PERSONA_SERVICE_KEY": SERVICE_KEY,
        "OPEN_PERSONA_TOKEN_KEY": TOKEN_KEY,
        "OPEN_PERSONA_HUB_URL": settings.hub_url,
        "OPEN_PERSONA_PROVIDERS": "compatible",
        "OPEN_PERSONA_COMPATIBLE_BASE_URL": provider_url,
        "OPEN_PERSONA_COMPATIBLE_MODELS": "m1",
        "OPEN_PERSONA_DEFAULT_COMPATIBLE_API_KEY": "k",
        "OPEN_PERSONA_OPENCODE_BIN": settings.opencode_bin,
        "OPEN_PERSONA_RIPGREP_BIN": settings.ripgrep_bin,
        **more,
    }
    return subprocess.Popen([sys.executable, "-m", "sidecar"], env=environment, cwd=Path(__file__).parents[3])


async def turn(client: httpx.AsyncClient, port: int) -> Answer:
    """One turn at a sidecar that may still be starting."""
    async with asyncio.timeout(60):
        while True:
            try:
                await client.get(f"http://127.0.0.1:{port}/healthz")
                break
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    body = {"model": "open-persona/grant-draft", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {API_KEY}", "x-openwebui-user-id": "ann"}
    answer = Answer(200)
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    async with client.stream("POST", url, json=body, headers=headers) as response:
        async for line in response.aiter_lines():
            answer.add(line)
    return answer
