"""The broker over real HTTP: what passes, how it streams, and how it ends."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from sidecar.providers import PROVIDERS, ProviderName
from tests.fakes.provider import Reply, ToolCall, running_provider
from tests.sidecar.broker_rig import KEY, MODELS, NAMES, TOKEN, body_for, new_turn, running_broker

ENDS = {"responses": '"response.completed"', "messages": '"message_stop"', "chat": "[DONE]"}


@pytest.mark.requirement("broker:providers")
@pytest.mark.parametrize("name", NAMES)
async def test_streams_text_reasoning_and_tools_of_each_provider(name: ProviderName) -> None:
    reply = Reply(reasoning=["think"], text=["one ", "two"], tools=[ToolCall("grants_gov_list_codes", {"q": 1})])
    async with running_broker(reply) as rig:
        answer = await rig.call(name)
        request = rig.provider.requests[0]
        note = rig.turn.note
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    for part in ("think", "one ", "two", "grants_gov_list_codes", ENDS[PROVIDERS[name].dialect]):
        assert part in answer.text
    assert request.path == f"/v1/{PROVIDERS[name].call}"
    assert request.model == MODELS[name]
    assert (note.calls, note.input_tokens, note.output_tokens, note.failure) == (1, 11, 7, None)


@pytest.mark.requirement("doors:token-at-home")
@pytest.mark.parametrize("name", NAMES)
async def test_a_token_is_taken_from_its_runners_address_alone(name: ProviderName) -> None:
    async with running_broker() as rig:
        rig.turn.address = "10.213.0.3"
        stolen, guessed = await rig.call(name), await rig.call(name, token="guessed")
        rig.turn.address = "127.0.0.1"
        own = await rig.call(name)
    assert (stolen.status, stolen.text, own.status) == (403, guessed.text, 200)
    assert len(rig.provider.requests) == 1


@pytest.mark.requirement("broker:real-key")
@pytest.mark.parametrize("name", NAMES)
async def test_the_real_key_goes_where_the_provider_wants_it_and_nothing_else_passes(name: ProviderName) -> None:
    extra = {
        "cookie": "a=b",
        "x-forwarded-for": "1.2.3.4",
        "openai-organization": "org",
        "http-referer": "https://elsewhere.test",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "pdfs-2024-09-25,mcp-client-2025-04-04,code-execution-2025-05-22",
    }
    async with running_broker() as rig:
        await rig.call(name, headers=extra)
        headers = dict(rig.provider.requests[0].headers)
    expected = {
        "openai": {"authorization": f"Bearer {KEY}"},
        "openrouter": {"authorization": f"Bearer {KEY}"},
        "compatible": {"authorization": f"Bearer {KEY}"},
        "anthropic": {"x-api-key": KEY, "anthropic-version": "2023-06-01", "anthropic-beta": "pdfs-2024-09-25"},
        "demo": {},
    }[name]
    transport = {"host", "accept", "accept-encoding", "content-type", "content-length", "user-agent"}
    assert {k: v for k, v in headers.items() if k not in transport} == expected
    assert TOKEN not in str(headers)


@pytest.mark.requirement("broker:denied")
async def test_no_turn_no_call_and_denied_equals_unknown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "sidecar.broker")
    async with running_broker() as rig:
        refusals = [
            await rig.call(token="runner-token-of-user-two"),
            await rig.call(token=""),
            await rig.call(body=body_for("compatible", model="m2")),
            await rig.call(body=body_for("compatible", plugins=[{"id": "web"}])),
            await rig.call(body=[1]),
        ]
        for method, path in (
            ("GET", "/llm/compatible/v1/chat/completions"),
            ("POST", "/llm/compatible/v1/embeddings"),
            ("POST", "/llm/compatible/v1/chat/completions?beta=true"),
            ("POST", "/llm/compatible/v1/files"),
            ("DELETE", "/llm/compatible/v1/chat/completions"),
            ("POST", "/llm/unknown/v1/chat/completions"),
        ):
            sent = {"json": body_for("compatible"), "headers": rig.headers("compatible")}
            async with rig.http.request(method, rig.url + path, **sent) as response:  # type: ignore[arg-type]
                assert (response.status, await response.text()) == (403, refusals[0].text)
        assert rig.provider.requests == []
    assert {(answer.status, answer.text) for answer in refusals} == {(403, refusals[0].text)}
    assert len(caplog.records) == 11
    assert KEY not in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.requirement("broker:denied")
@pytest.mark.parametrize("name", NAMES)
async def test_a_refusal_has_the_providers_own_shape(name: ProviderName) -> None:
    async with running_broker() as rig:
        answer = await rig.call(name, token="wrong")
    assert answer.status == 403
    if name == "anthropic":
        assert '"type": "error"' in answer.text
        assert answer.json["error"]["type"] == "permission_error"
    elif name == "openrouter":
        assert answer.json["error"]["code"] == 403
    else:
        assert set(answer.json["error"]) == {"message", "type", "param", "code"}


async def test_a_provider_that_is_not_configured_is_unknown() -> None:
    async with running_broker(providers=("openai",), demo=False) as rig:
        assert (await rig.call("anthropic")).status == 403
        assert (await rig.call("openai")).status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
async def test_only_json_passes(kind: str) -> None:
    async with running_broker() as rig:
        headers = {**rig.headers("compatible"), "content-type": kind}
        data = json.dumps(body_for("compatible")).encode()
        async with rig.http.post(rig.address("compatible"), data=data, headers=headers) as response:
            assert response.status == 403
        assert rig.provider.requests == []


@pytest.mark.requirement("broker:body-limit")
async def test_a_body_over_the_limit_is_refused_and_one_below_it_passes() -> None:
    async with running_broker(max_body_bytes=20_000) as rig:
        big = body_for("compatible", messages=[{"role": "user", "content": "x" * 40_000}])
        answer = await rig.call(body=big)
        failure = rig.turn.note.failure
        assert failure is not None
        assert (answer.status, failure.reason) == (403, "too_large")
        assert "grown larger than the 19.5 KiB" in failure.message and "Start a new chat" in failure.message
        assert (await rig.call(body=body_for("compatible"))).status == 200
        assert len(rig.provider.requests) == 1


@pytest.mark.requirement("broker:store-false")
async def test_nothing_is_stored_at_the_provider() -> None:
    async with running_broker() as rig:
        await rig.call("openai", body_for("openai", store=True))
        await rig.call("compatible", body_for("compatible", store=True))
        assert rig.provider.requests[0].body["store"] is False
        assert "store" not in rig.provider.requests[1].body


async def test_a_call_without_stream_is_answered_whole_and_counted() -> None:
    async with running_broker(Reply(text=["all"], tokens=(5, 3))) as rig:
        for name in NAMES:
            answer = await rig.call(name, {**body_for(name), "stream": False})
            assert answer.headers["content-type"] == "application/json"
            assert "all" in answer.text
        assert (rig.turn.note.input_tokens, rig.turn.note.output_tokens) == (25, 15)


@pytest.mark.requirement("broker:streams")
async def test_the_first_delta_arrives_while_the_provider_is_still_writing() -> None:
    gate = asyncio.Event()
    async with (
        running_broker(Reply(text=["first", "second"], gate=gate)) as rig,
        asyncio.timeout(10),
        rig.http.post(
            rig.address("compatible"), json=body_for("compatible"), headers=rig.headers("compatible")
        ) as response,
    ):
        text = b""
        while b"first" not in text:
            text += await response.content.readany()
        assert b"second" not in text
        gate.set()
        assert b"second" in await response.content.read()


@pytest.mark.requirement("broker:disconnect")
@pytest.mark.parametrize("stall", ["start", "middle"])
async def test_a_runner_that_goes_away_ends_the_providers_request_at_once(stall: str) -> None:
    async with running_broker(Reply(text=["a", "b"], stall="start" if stall == "start" else "middle")) as rig:
        call = asyncio.create_task(rig.call())
        await rig.provider.wait_requests(1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await rig.provider.wait_closed(timeout_s=2)
        assert rig.turn.note.failure is None


@pytest.mark.requirement("broker:turn-end")
async def test_the_turns_end_cancels_its_calls_and_opens_no_others() -> None:
    async with running_broker([Reply(stall="start"), Reply(text=["a", "b"], stall="middle"), "ok"]) as rig:
        async with rig.turns.open(new_turn(token="runner-2", turn_id="t2")):
            waiting = asyncio.create_task(rig.call(token="runner-2"))
            await rig.provider.wait_requests(1)
            streaming = asyncio.create_task(rig.call(token="runner-2"))
            await rig.provider.wait_requests(2)
            other = asyncio.create_task(rig.call())
            assert (await other).status == 200
        answers = await asyncio.gather(waiting, streaming)
        await rig.provider.wait_closed(0, timeout_s=2)
        await rig.provider.wait_closed(1, timeout_s=2)
        assert answers[0].status == 403
        assert (await rig.call(token="runner-2")).status == 403


async def test_of_several_turns_the_session_says_which_one_counts() -> None:
    async with running_broker() as rig, rig.turns.open(new_turn(turn_id="t2")) as second:
        second.session_id = "ses_2"
        await rig.call(headers={"x-session-id": "ses_2"})
        assert (rig.turn.note.calls, second.note.calls) == (0, 1)
        await rig.call(headers={"x-session-id": "ses_9"})
        assert (rig.turn.note.calls, second.note.calls) == (1, 1)


@pytest.mark.requirement("broker:step-limit")
async def test_a_turn_has_only_so_many_calls() -> None:
    async with running_broker(turn_steps=2) as rig:
        statuses = [(await rig.call()).status for _ in range(5)]
        assert statuses == [200, 200, 200, 200, 403]
        assert rig.turn.note.failure is not None
        assert rig.turn.note.failure.reason == "step_limit"
        assert not rig.turn.note.failed.is_set()
        assert (await rig.call()).status == 403
        assert rig.turn.note.failed.is_set()


async def test_a_required_key_that_the_turn_lacks_is_a_refusal() -> None:
    async with running_broker() as rig:
        rig.turn.keys = {}
        assert (await rig.call("openai")).status == 403
        assert (await rig.call("compatible")).status == 200
        assert "authorization" not in rig.provider.requests[0].headers


@pytest.mark.requirement("broker:no-redirect")
async def test_a_redirect_is_not_followed() -> None:
    async with running_provider() as elsewhere:
        target = f"{elsewhere.url}/chat/completions"
        async with running_broker(Reply(status=307, headers={"location": target})) as rig:
            answer = await rig.call()
            failure = rig.turn.note.failure
        assert answer.status == 403
        assert failure is not None
        assert "OPEN_PERSONA_COMPATIBLE_BASE_URL" in failure.message
        assert elsewhere.requests == []
        assert "location" not in answer.headers
