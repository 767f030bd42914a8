"""Turns under odd conditions: stopped at the wrong moment, waited for, with strange text, with failures in between."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from sqlalchemy.exc import OperationalError

from sidecar.identity import workspace_hash
from tests.e2e.process.deployment import Answer, Deployment, free_port, running_deployment, switched_on
from tests.e2e.process.processes import opencode_of
from tests.e2e.process.test_runners import start_sidecar, turn
from tests.fakes.provider import ProviderRequest, Reply, ToolCall, running_provider

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
FILES = ["edit", "glob", "grep", "read", "write"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    listed = {"alpha": {"search": "read"}}
    async with running_deployment(
        tmp_path_factory.mktemp("robust"), integrations=listed, provider_retries=0
    ) as running:
        await running.chat("warm up", meta=switched_on("alpha"))
        yield running


@pytest.mark.requirement("runner:half-loaded")
async def test_a_turn_stopped_while_its_config_is_loaded_leaves_nothing_half_done(deployment: Deployment) -> None:
    await deployment.idle()
    live = deployment.services.turns.pool.live[0]
    original, begun = live.client.dispose, asyncio.Event()

    async def slow_dispose() -> None:
        begun.set()
        await asyncio.sleep(0.2)
        await original()

    live.client.dispose = slow_dispose  # type: ignore[method-assign]
    stopped = asyncio.create_task(
        deployment.chat("hi", picked="brand-new", meta={"memory": {"self_reference_level": 1}})
    )
    await begun.wait()
    stopped.cancel()
    await asyncio.gather(stopped, return_exceptions=True)
    live.client.dispose = original  # type: ignore[method-assign]
    answer = await deployment.chat("go", meta=switched_on("alpha"))
    assert answer.terminals == ["stop"]
    assert deployment.provider.requests[-1].tool_names == ["alpha_search", *FILES]


@pytest.mark.requirement("tools:left-out-not-offered")
async def test_what_is_said_to_be_left_out_is_not_offered(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = await deployment.services.turns.hub.catalog()
    assert catalog is not None
    down = catalog.integrations[0].model_copy(update={"health": "down", "reason": "timeout"})
    monkeypatch.setattr(deployment.services.turns.hub, "_catalog", catalog.model_copy(update={"integrations": (down,)}))
    answer = await deployment.chat("go", meta=switched_on("alpha"))
    assert any("left out" in line for line in answer.statuses)
    assert deployment.provider.requests[-1].tool_names == FILES


@pytest.mark.requirement("stream:odd-text")
async def test_characters_cut_in_two_and_lone_halves_do_not_break_the_stream(deployment: Deployment) -> None:
    deployment.provider.script(Reply(text=["a\ud83d", "\ude00b", "\ud83d", "c"]))
    for stream in (True, False):
        answer = await deployment.chat("go", stream=stream)
        said = answer.text or answer.body["choices"][0]["message"]["content"]  # type: ignore[index]
        assert str(said).startswith("a😀b"), said
        assert str(said).endswith("c")
    deployment.provider.script("hello")


def recite(request: ProviderRequest) -> Reply | str:
    if request.last_user == "fail":
        return Reply(status=401, body={"error": {"message": "no"}})
    return "fine"


@pytest.mark.requirement("memory:survives-failures")
async def test_a_failed_turn_in_between_costs_no_memory(deployment: Deployment) -> None:
    deployment.provider.script(recite)
    await deployment.chat("my bird is a wren", chat="c-fail", answer="a1")
    failed = await deployment.chat("fail", chat="c-fail", answer="a2", parent="a1")
    assert failed.error["code"] == "provider_auth"
    await deployment.chat("which bird?", chat="c-fail", answer="a3", parent="a2")
    told = deployment.provider.requests[-1].user_texts
    assert told[0] == "my bird is a wren"
    assert told[-1].endswith("which bird?")
    deployment.provider.script("hello")


@pytest.mark.requirement("memory:survives-failures")
async def test_a_turn_stopped_at_its_start_costs_no_memory(deployment: Deployment) -> None:
    await deployment.chat("my fish is a pike", chat="c-stop", answer="b1")
    early = asyncio.create_task(deployment.chat("never mind", chat="c-stop", answer="b2", parent="b1"))
    async with asyncio.timeout(10):
        while "b2" not in deployment.services.turns.store.answers(workspace_hash("ann"), "c-stop"):
            await asyncio.sleep(0)
    early.cancel()
    await asyncio.gather(early, return_exceptions=True)
    await deployment.chat("which fish?", chat="c-stop", answer="b3", parent="b2")
    assert deployment.provider.requests[-1].user_texts[0] == "my fish is a pike"


@pytest.mark.requirement("store:failure-costs-no-answer")
async def test_an_answer_that_cannot_be_noted_is_given_all_the_same(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OperationalError("insert", {}, Exception("disk is full"))

    for method in ("remember_answer", "note_answer", "remember_persona"):
        monkeypatch.setattr(deployment.services.turns.store, method, full)
    answer = await deployment.chat("go", chat="c-full", picked="another")
    assert (answer.text, answer.terminals, answer.error) == ("hello", ["stop"], {})


@pytest.mark.requirement("chat:in-order")
async def test_a_second_message_in_a_chat_waits_and_says_so(deployment: Deployment) -> None:
    gate = asyncio.Event()
    deployment.provider.script([Reply(text=["one ", "end"], gate=gate), "two"])
    count = len(deployment.provider.requests)
    first = asyncio.create_task(deployment.chat("first", chat="c-order", answer="d1"))
    await deployment.provider.wait_requests(count + 1)
    second = Answer(200)
    request = deployment.turn("second", chat="c-order", answer="d2")
    async with deployment.client.stream("POST", **request) as response:  # type: ignore[arg-type]
        async for line in response.aiter_lines():
            second.add(line)
            if any("yours comes next" in status for status in second.statuses):
                gate.set()
    assert (await first).text == "one end"
    assert second.text == "two"
    deployment.provider.script("hello")


@pytest.mark.requirement("files:links-swept")
async def test_a_link_to_itself_is_swept_like_any_that_leads_nowhere(deployment: Deployment) -> None:
    workspace = deployment.home / "workspaces" / workspace_hash("ann")
    (workspace / "loop").symlink_to(workspace / "loop")
    (workspace / os.fsdecode(b"bad\xff")).symlink_to(deployment.home)
    answer = await deployment.chat("go")
    assert answer.text == "hello"
    assert any("loop" in line for line in answer.statuses)


@pytest.mark.requirement("turn:tool-loop")
async def test_a_model_that_never_stops_calling_is_stopped(deployment: Deployment) -> None:
    deployment.provider.script(Reply(tools=[ToolCall("alpha_search", {"words": "x"})]))
    answer = await deployment.chat("go", meta=switched_on("alpha"))
    assert (answer.done, answer.error["code"]) == (1, "step_limit")
    deployment.provider.script("hello")


@pytest.mark.requirement("turn:tool-loop")
async def test_a_model_that_makes_one_call_many_times_at_once_is_stopped_with_a_message(deployment: Deployment) -> None:
    call = ToolCall("alpha_search", {"words": "x"})
    deployment.provider.script([Reply(tools=[call, call, call]), "never reached"])
    answer = await deployment.chat("go", meta=switched_on("alpha"))
    assert answer.done == 1
    assert "again and again" in str(answer.error["message"])
    deployment.provider.script("hello")


@pytest.mark.requirement("runner:strays")
async def test_what_a_crash_left_of_a_turn_without_memory_is_deleted_at_the_next_start(deployment: Deployment) -> None:
    deployment.provider.script(Reply(text=["half ", "whole"], gate=asyncio.Event()))
    count = len(deployment.provider.requests)
    crashed = asyncio.create_task(deployment.chat("private words", model="open-persona/grant-draft"))
    await deployment.provider.wait_requests(count + 1)
    os.kill(opencode_of(deployment.services.turns.pool.live[0].spec.private), signal.SIGKILL)
    assert (await crashed).error["code"] == "runner_lost"
    deployment.provider.script("hello")
    await deployment.chat("go", model="open-persona/grant-draft")
    await deployment.idle()
    live = deployment.services.turns.pool.live[0]
    kept = deployment.services.turns.store.sessions(workspace_hash("ann"))
    assert set(await live.client.sessions()) <= kept


@pytest.mark.requirement("hub:hanging-costs-nothing")
async def test_a_hub_that_hangs_delays_no_turn_that_needs_nothing_of_it(tmp_path: Path) -> None:
    over = asyncio.Event()
    handlers: set[asyncio.Task[None]] = set()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        await over.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with running_deployment(tmp_path, hub_url=f"http://127.0.0.1:{port}") as deployment:
            await deployment.chat("warm up")
            answers = [await deployment.chat("go", meta=switched_on("alpha")) for _ in range(2)]
            assert [answer.text for answer in answers] == ["hello", "hello"]
            assert any("hub does not answer" in line for line in answers[0].statuses)
    finally:
        over.set()
        await asyncio.gather(*handlers)
        server.close()
        await server.wait_closed()


@pytest.mark.requirement("stream:ends-at-shutdown")
async def test_an_answer_that_runs_when_the_sidecar_is_told_to_stop_ends_as_it_should(tmp_path: Path) -> None:
    async with running_provider("hello") as provider, httpx.AsyncClient(timeout=60) as client:
        port = free_port()
        process: subprocess.Popen[bytes] = start_sidecar(tmp_path, provider.url, port)
        try:
            await turn(client, port)
            provider.script(Reply(text=["half ", "whole"], gate=asyncio.Event()))
            running = asyncio.create_task(turn(client, port))
            await provider.wait_requests(2)
            process.send_signal(signal.SIGTERM)
            answer = await asyncio.wait_for(running, 20)
            assert (answer.text, answer.done, len(answer.terminals)) == ("half ", 1, 1)
            assert "restarted" in str(answer.error["message"])
            assert await asyncio.to_thread(process.wait, 20) == 0
        finally:
            process.kill()
            await asyncio.to_thread(process.wait, 10)
