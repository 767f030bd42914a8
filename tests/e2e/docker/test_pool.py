"""The life of runners on real Docker: taken over, set aside, put right, ended; with the turns of a whole sidecar."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from sidecar.identity import instance_id
from sidecar.runners.live import LiveRunner
from tests.e2e.docker.engine import Engine, docker
from tests.e2e.docker.runners import remove_all, until
from tests.e2e.process.deployment import (
    API_KEY,
    Answer,
    Deployment,
    free_port,
    running_deployment,
)
from tests.e2e.process.test_runners import start_sidecar
from tests.fakes.provider import Reply, running_provider

pytestmark = pytest.mark.real


@pytest.fixture
def image(engine: Engine) -> Iterator[str]:
    """The runner's image under a name of the test's own: nobody else's build makes its runners outdated."""
    name = f"open-persona-test-pool:{secrets.token_hex(4)}"
    docker("tag", engine.runner, name)
    yield name
    docker("image", "rm", "-f", name, check=False)


@asynccontextmanager
async def containers(tmp: Path, image: str, **settings: object) -> AsyncIterator[Deployment]:
    """A deployment whose runners are containers; none of them is left."""
    token_key = SecretStr(secrets.token_hex(16))
    given: dict[str, Any] = {
        "runner_mode": "docker",
        "runner_image": image,
        "runner_start_timeout_s": 120,
        "runner_health_timeout_s": 240,
        "sidecar_host": "0.0.0.0",
        "token_key": token_key,
        **settings,
    }
    try:
        async with running_deployment(tmp, **given) as running:
            running.client.timeout = httpx.Timeout(300)
            yield running
    finally:
        remove_all(label(token_key))


def label(token_key: SecretStr) -> str:
    return f"open-persona.instance={instance_id(token_key)}"


def ids(deployment: Deployment) -> list[str]:
    """The containers of the deployment, whatever their state."""
    return listed(deployment.services.settings.token_key)


def listed(token_key: SecretStr) -> list[str]:
    return sorted(docker("ps", "-aq", "--no-trunc", "--filter", f"label={label(token_key)}").split())


async def chat(deployment: Deployment, said: str, **options: Any) -> Answer:
    """One turn of a user whom no other test has: names of containers and networks tell users, not deployments."""
    user = f"ann-{instance_id(deployment.services.settings.token_key)}"
    return await deployment.chat(said, user=user, **options)


def only(deployment: Deployment) -> LiveRunner:
    (live,) = deployment.services.turns.pool.live
    return live


def state_of(container: str) -> str:
    return docker("inspect", "--format", "{{.State.Status}}", container)


@pytest.mark.requirement("runner:pause-between-turns")
async def test_an_idle_runner_is_paused_answers_at_once_and_is_stopped_later(tmp_path: Path, image: str) -> None:
    async with containers(tmp_path, image, runner_pause_s=2) as it:
        assert (await chat(it, "my hill is the Brocken", chat="c", answer="a1")).text == "hello"
        (container,) = ids(it)
        await until(lambda: only(it).state == "paused", 20)
        assert state_of(container) == "paused"
        answer = await chat(it, "which hill?", chat="c", answer="a2", parent="a1")
        assert answer.text == "hello"
        assert it.provider.requests[-1].user_texts == ["my hill is the Brocken", "which hill?"]
        assert ids(it) == [container]
        gate = asyncio.Event()
        it.provider.script([Reply(text=["slow ", "end"], gate=gate), "hello"])
        count = len(it.provider.requests)
        turn = asyncio.create_task(chat(it, "wait"))
        await it.provider.wait_requests(count + 1, 60)
        only(it).used_at -= 10_000
        await it.services.turns.pool._caretaker.round()
        assert state_of(container) == "running"
        gate.set()
        assert (await turn).text == "slow end"
        await until(lambda: only(it).state == "paused", 20)
        only(it).used_at -= 10_000
        await until(lambda: ids(it) == [], 20)
        assert (await chat(it, "again")).text == "hello"


@pytest.mark.requirement("runner:recycled")
async def test_what_changed_or_belongs_to_nobody_is_found_on_the_timer(tmp_path: Path, image: str) -> None:
    async with containers(tmp_path, image) as it:
        pool = it.services.turns.pool
        assert (await chat(it, "hi")).text == "hello"
        (old,) = ids(it)
        changed = docker("commit", "--change", "LABEL changed=1", old)
        docker("tag", changed, image)
        gate = asyncio.Event()
        it.provider.script([Reply(text=["slow ", "end"], gate=gate), "hello"])
        turn = asyncio.create_task(chat(it, "wait"))
        await it.provider.wait_requests(2, 60)
        await pool._caretaker.round()
        assert ids(it) == [old]
        gate.set()
        assert (await turn).text == "slow end"
        await it.idle()
        answer = await chat(it, "hi")
        assert any("updated" in line for line in answer.statuses)
        (new,) = ids(it)
        assert new != old
        pool._register.drop(only(it))  # as if this sidecar had never known it
        await pool._caretaker.round()
        assert ids(it) == []
        names = docker("network", "ls", "-q", "--filter", f"label={label(it.services.settings.token_key)}")
        assert names == ""


@pytest.mark.requirement("runner:adopted")
async def test_runners_of_a_killed_sidecar_are_taken_over_and_go_on(tmp_path: Path, image: str) -> None:
    port, token_key = free_port(), SecretStr(secrets.token_hex(16))
    more = {
        "OPEN_PERSONA_RUNNER_MODE": "docker",
        "OPEN_PERSONA_RUNNER_IMAGE": image,
        "OPEN_PERSONA_SIDECAR_HOST": "0.0.0.0",
        "OPEN_PERSONA_RUNNER_HEALTH_TIMEOUT_S": "240",
        "OPEN_PERSONA_TOKEN_KEY": token_key.get_secret_value(),
    }
    users = [f"{name}-{instance_id(token_key)}" for name in ("ann", "bob", "eve")]
    try:
        async with running_provider("hello") as provider, httpx.AsyncClient(timeout=300) as client:
            process = start_sidecar(tmp_path, provider.url, port, **more)
            try:
                await awake(client, port)
                first = [say(client, port, user, f"I am {user}", "a1") for user in users]
                assert [answer.text for answer in await asyncio.gather(*first)] == ["hello"] * 3
                before = listed(token_key)
                assert len(before) == 3
                gate = asyncio.Event()
                provider.script([Reply(text=["never ", "said"], gate=gate), "hello"])
                cut = asyncio.create_task(say(client, port, users[0], "wait", "a2", "a1"))
                await provider.wait_requests(4, 60)
            finally:
                process.send_signal(signal.SIGKILL)
                await asyncio.to_thread(process.wait, 10)
            with pytest.raises(httpx.HTTPError):
                await cut
            gate.set()
            docker("pause", before[1])
            assert listed(token_key) == before
            process = start_sidecar(tmp_path, provider.url, port, **more)
            try:
                await awake(client, port)
                for user in users:
                    answer = await say(client, port, user, "who am I?", "a3", "a1")
                    assert answer.text == "hello", answer.error
                    assert not any("Starting" in line for line in answer.statuses)
                    assert provider.requests[-1].user_texts[0] == f"I am {user}"
                assert listed(token_key) == before
            finally:
                process.send_signal(signal.SIGTERM)
                await asyncio.to_thread(process.wait, 30)
            assert listed(token_key) == before
    finally:
        remove_all(label(token_key))


async def awake(client: httpx.AsyncClient, port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await client.get(f"http://127.0.0.1:{port}/healthz")
                return
            except httpx.TransportError:
                await asyncio.sleep(0.05)


async def say(client: httpx.AsyncClient, port: int, user: str, words: str, answer: str, parent: str = "") -> Answer:
    """One turn with Izzy, in the one chat of that user."""
    body = {"model": "open-persona/izzy", "stream": True, "messages": [{"role": "user", "content": words}]}
    headers = {"authorization": f"Bearer {API_KEY}", "x-openwebui-user-id": user, "x-openwebui-chat-id": f"c-{user}"}
    headers |= {"x-openwebui-message-id": answer, "x-openwebui-user-message-id": f"u-{answer}"}
    headers |= {"x-openwebui-user-message-parent-id": parent} if parent else {}
    got = Answer(200)
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    async with client.stream("POST", url, json=body, headers=headers) as response:
        async for line in response.aiter_lines():
            got.add(line)
    return got
