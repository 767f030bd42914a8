"""A streamed answer is real, ends exactly once, and a client that leaves ends the provider's request."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.process.deployment import Answer, Deployment, running_deployment, switched_on
from tests.e2e.process.processes import opencode_of
from tests.fakes.provider import Reply, ToolCall

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    tmp = tmp_path_factory.mktemp("streaming")
    options: dict[str, Any] = {
        "provider_idle_s": 1.0,
        "provider_first_byte_s": 1.0,
        "heartbeat_s": 0.2,
        "provider_retries": 1,
    }
    async with running_deployment(tmp, integrations={"alpha": {"search": "read"}}, **options) as running:
        await running.chat("warm up")
        yield running


def ends_once(answer: Answer) -> None:
    assert (answer.status, len(answer.terminals), answer.done) == (200, 1, 1), answer


@pytest.mark.requirement("stream:first-token-early")
async def test_the_first_token_arrives_before_the_provider_has_finished(deployment: Deployment) -> None:
    gate = asyncio.Event()
    deployment.provider.script(Reply(text=["first ", "last"], reasoning=[], gate=gate))
    request = deployment.turn("go")
    answer = Answer(200)
    async with deployment.client.stream("POST", **request) as response:  # type: ignore[arg-type]
        async for line in response.aiter_lines():
            answer.add(line)
            if answer.text == "first ":
                assert not deployment.provider.requests[-1].finished
                gate.set()
    assert answer.text == "first last"
    ends_once(answer)
    assert answer.usage["completion_tokens"] == 7


@pytest.mark.requirement("stream:client-gone")
async def test_a_client_that_leaves_ends_the_providers_request(deployment: Deployment) -> None:
    deployment.provider.script(Reply(text=["first ", "last"], stall="middle"))
    async with deployment.client.stream("POST", **deployment.turn("go")) as response:  # type: ignore[arg-type]
        async for line in response.aiter_lines():
            if "first" in line:
                break
    left = time.monotonic()
    request = await deployment.provider.wait_closed(timeout_s=5)
    assert request.closed_at is not None
    assert request.closed_at - left < 2
    deployment.provider.script("fine")
    assert (await deployment.chat("again")).text == "fine"


async def test_a_client_without_stream_that_leaves_ends_it_too(deployment: Deployment) -> None:
    deployment.provider.script(Reply(text=["first ", "last"], gate=asyncio.Event()))
    count = len(deployment.provider.requests)
    task = asyncio.create_task(deployment.chat("go", stream=False))
    await deployment.provider.wait_requests(count + 1)
    task.cancel()
    await deployment.provider.wait_closed(timeout_s=5)
    deployment.provider.script("fine")
    whole = await deployment.chat("again", stream=False)
    assert whole.body["choices"][0]["message"]["content"] == "fine"  # type: ignore[index]


async def test_reasoning_is_kept_apart_from_the_answer(deployment: Deployment) -> None:
    deployment.provider.script(Reply(reasoning=["let me ", "think"], text=["yes"]))
    answer = await deployment.chat("go")
    assert (answer.reasoning, answer.text) == ("let me think", "yes")


async def test_text_around_a_tool_call_is_one_answer(deployment: Deployment) -> None:
    deployment.provider.script([Reply(text=["I look."], tools=[ToolCall("alpha_search", {"words": "x"})]), "Found x."])
    answer = await deployment.chat("go", meta=switched_on("alpha"))
    assert answer.text == "I look.\n\nFound x."
    ends_once(answer)


@pytest.mark.requirement("stream:heartbeat")
async def test_silence_is_filled_with_comments(deployment: Deployment) -> None:
    gate = asyncio.Event()
    deployment.provider.script(Reply(text=["a", "b"], gate=gate))
    answer = Answer(200)
    async with deployment.client.stream("POST", **deployment.turn("go")) as response:  # type: ignore[arg-type]
        async for line in response.aiter_lines():
            answer.add(line)
            if answer.comments >= 2:
                gate.set()
    assert answer.text == "ab"


FAILURES = {
    "401": (Reply(status=401, body={"error": {"message": "bad {key}"}}), "provider_auth"),
    "429": (Reply(status=429, body={"error": {"message": "slow down"}}), "provider_rate_limit"),
    "500": (Reply(status=500, body="<html>oops</html>"), "provider_error"),
    "silent": (Reply(text=["x"], stall="start"), "provider_stalled"),
    "stalls": (Reply(text=["part ", "rest"], stall="middle"), "provider_stalled"),
    "cut": (Reply(text=["part ", "rest"], cut="abort"), "provider_cut"),
    "ends early": (Reply(text=["part ", "rest"], cut="end"), "provider_cut"),
}


@pytest.mark.requirement("stream:provider-failures")
@pytest.mark.parametrize("case", FAILURES)
async def test_each_failure_of_the_provider_has_its_message_and_one_end(deployment: Deployment, case: str) -> None:
    reply, reason = FAILURES[case]
    deployment.provider.script(reply)
    answer = await deployment.chat("go")
    ends_once(answer)
    assert answer.error["code"] == reason
    assert "provider-key-of-the-deployment" not in str(answer.events)
    if reply.text and reply.stall != "start":
        assert answer.text.startswith("part ")
    deployment.provider.script("recovered")
    assert (await deployment.chat("again")).text == "recovered"


@pytest.mark.requirement("stream:provider-failures")
async def test_the_messages_differ(deployment: Deployment) -> None:
    messages = set()
    for case in ("401", "429", "500", "silent", "cut"):
        deployment.provider.script(FAILURES[case][0])
        messages.add((await deployment.chat("go")).error["message"])
    assert len(messages) == 5


@pytest.mark.requirement("runner:killed-mid-answer")
async def test_a_runner_that_dies_in_the_middle_is_told_and_the_next_turn_works(deployment: Deployment) -> None:
    deployment.provider.script(Reply(text=["half ", "whole"], gate=asyncio.Event()))
    private = deployment.services.turns.pool.live[0].spec.private
    answer = Answer(200)
    async with deployment.client.stream("POST", **deployment.turn("go")) as response:  # type: ignore[arg-type]
        async for line in response.aiter_lines():
            answer.add(line)
            if answer.text and private:
                os.kill(opencode_of(private), signal.SIGKILL)
                private = None  # type: ignore[assignment]
    ends_once(answer)
    assert answer.text == "half "
    assert answer.error["code"] == "runner_lost"
    deployment.provider.script("back")
    assert (await deployment.chat("again")).text == "back"


@pytest.mark.requirement("runner:wedged")
async def test_a_wedged_runner_is_replaced(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.runners.live.WEDGED_S", 0.5)
    deployment.provider.script("back")
    pid = opencode_of(deployment.services.turns.pool.live[0].spec.private)
    os.kill(pid, signal.SIGSTOP)
    answer = await deployment.chat("hello?")
    assert answer.text == "back"
    assert any("started again" in line for line in answer.statuses)


@pytest.mark.requirement("runner:deadline")
async def test_a_turn_has_a_deadline(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment.provider.script(Reply(text=["a", "b"], gate=asyncio.Event()))
    fields = deployment.services.turns.settings.__dict__
    monkeypatch.setitem(fields, "turn_timeout_s", 4)
    monkeypatch.setitem(fields, "provider_idle_s", 30)
    answer = await deployment.chat("go")
    ends_once(answer)
    assert answer.error["code"] == "turn_timeout"
    await deployment.provider.wait_closed(timeout_s=5)
