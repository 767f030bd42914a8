"""What a provider's failure becomes, for the user and for opencode, over real HTTP."""

from __future__ import annotations

import asyncio
import logging
import re
import socket

import pytest

from sidecar.errors import Reason
from sidecar.providers import PROVIDERS, ProviderName
from tests.fakes.provider import Reply
from tests.sidecar.broker_rig import KEY, NAMES, Rig, body_for, running_broker

ASKED_AGAIN = re.compile(
    r"429|500|502|503|504|524|rate increased too quickly|rate limit|rate-limit|rate_limit|too many requests|overloaded"
    r"|service unavailable|service_unavailable|service-unavailable|internal error|internal_error|internal server error"
    r"|server error|server_error|server-error|provider returned error|terminated|fetch failed|failed to fetch"
    r"|network[-_\s]error|upstream connect|connection error|connection refused|connection lost|hang up|getaddrinfo"
    r"|enotfound|eai_again|econnrefused|econnreset|etimedout|time ?out|timed out|try your request again"
    r"|retry your request|resource exhausted|try again (later|in\b)|at capacity",
    re.IGNORECASE,
)
"""The words on which opencode 1.18.33 asks again whatever the status is, read from its binary."""


def noted(rig: Rig) -> tuple[Reason, str]:
    failure = rig.turn.note.failure
    assert failure is not None
    return failure.reason, failure.message


CASES: list[tuple[Reply, int, Reason, str]] = [
    (Reply(status=401, body={"error": {"message": "bad key {key}"}}), 401, "provider_auth", "Integrations > Tools"),
    (Reply(status=403, body="no"), 403, "provider_auth", "refused the key (403)"),
    (Reply(status=402, body={"error": {"message": "pay"}}), 403, "provider_refused", "no credit"),
    (Reply(status=429, body={"error": {"code": "insufficient_quota"}}), 403, "provider_refused", "no credit"),
    (Reply(status=404, body={"error": {"message": "?"}}), 403, "provider_refused", "does not know the model"),
    (Reply(status=400, body={"error": {"message": "bad max_tokens"}}), 403, "provider_refused", "bad max_tokens"),
    (Reply(status=400, body={"error": {"message": "context_length_exceeded"}}), 400, "provider_refused", "too long"),
    (Reply(status=429, headers={"retry-after": "7"}), 429, "provider_rate_limit", "in 7 s"),
    (Reply(status=429, headers={"retry-after": "3600"}), 403, "provider_rate_limit", "in 60 minutes"),
    (Reply(status=500, body="oops {key}"), 500, "provider_error", "failed (500)"),
    (Reply(status=529, body="oops"), 529, "provider_error", "failed (529)"),
    (Reply(status=302, headers={"location": "http://127.0.0.1:9/"}), 403, "provider_error", "redirects"),
]


@pytest.mark.requirement("broker:failures")
@pytest.mark.parametrize(("reply", "status", "reason", "words"), CASES)
@pytest.mark.parametrize("name", ["openai", "anthropic", "openrouter"])
async def test_each_failure_has_its_own_message_and_status(
    name: ProviderName, reply: Reply, status: int, reason: Reason, words: str
) -> None:
    async with running_broker(reply) as rig:
        answer = await rig.call(name)
        assert noted(rig)[0] == reason
        assert words in noted(rig)[1]
    assert answer.status == status
    assert ("retry-after" in answer.headers) == (status == 429)
    if status in (401, 403):
        assert not ASKED_AGAIN.search(answer.text), answer.text


@pytest.mark.requirement("broker:canary")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "demo"])
async def test_a_provider_that_echoes_the_key_does_not_get_it_to_the_runner(
    name: ProviderName, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    half = KEY[:12]
    echoes = [
        Reply(status=status, body={"error": {"message": f"key {{key}} {half}"}}, headers={"x-request-id": "{key}"})
        for status in (400, 401, 402, 403, 404, 422, 429, 500)
    ]
    echoes += [Reply(text=["a", KEY[:5] + KEY[5:], "b"]), Reply(stream_error="bad {key}"), Reply(text=["a"], cut="end")]
    seen = []
    async with running_broker(echoes, provider_retries=99) as rig:
        for _ in echoes:
            answer = await rig.call(name)
            rig.turn.note.stopped = False
            seen.append(answer.text + str(answer.headers) + repr(rig.turn) + str(rig.turn.note.failure))
        assert all(request.key == KEY for request in rig.provider.requests)
    assert "[redacted]" in "".join(seen)
    for text in (*seen, caplog.text):
        assert KEY not in text
        assert half not in text


@pytest.mark.requirement("broker:retries-end")
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_after_so_many_retries_opencode_is_told_to_stop(status: int) -> None:
    async with running_broker(Reply(status=status), provider_retries=2) as rig:
        answers = [await rig.call() for _ in range(4)]
        assert [answer.status for answer in answers] == [status, status, 403, 403]
        assert len(rig.provider.requests) == 3
        assert not any(ASKED_AGAIN.search(answer.text) for answer in answers[2:])
        assert noted(rig)[0] in ("provider_rate_limit", "provider_error")


async def test_a_success_makes_earlier_failures_good() -> None:
    async with running_broker([Reply(status=500), "ok", Reply(status=500)], provider_retries=1) as rig:
        assert [(await rig.call()).status for _ in range(3)] == [500, 200, 500]
        assert rig.turn.note.failures == 1


@pytest.mark.requirement("broker:stall")
async def test_a_stall_before_the_first_byte_is_final() -> None:
    async with running_broker(Reply(stall="start"), provider_first_byte_s=0.2) as rig:
        answer = await rig.call()
        assert (answer.status, noted(rig)[0]) == (403, "provider_stalled")
        assert not ASKED_AGAIN.search(answer.text)
        await rig.provider.wait_closed(timeout_s=2)
        assert (await rig.call()).status == 403
        assert len(rig.provider.requests) == 1


@pytest.mark.requirement("broker:stall")
@pytest.mark.requirement("broker:cut")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(text=["part", "more"], stall="middle"), "provider_stalled"),
        (Reply(text=["part", "more"], cut="abort"), "provider_cut"),
        (Reply(text=["part", "more"], cut="end"), "provider_cut"),
        (Reply(text=["part", "more"], stream_error="upstream said 503 overloaded"), "provider_error"),
    ],
)
async def test_a_stream_that_breaks_keeps_its_text_and_ends_with_an_error(
    name: ProviderName, reply: Reply, reason: Reason
) -> None:
    async with running_broker(reply, provider_idle_s=0.2) as rig:
        answer = await rig.call(name)
        assert noted(rig)[0] == reason
        assert rig.turn.note.relayed
        assert (await rig.call(name)).status == 403
        assert len(rig.provider.requests) == 1
    assert answer.status == 200
    assert "part" in answer.text
    last = answer.text.rstrip().rsplit("\n\n", 1)[-1]
    assert '"error"' in last
    assert not ASKED_AGAIN.search(last)
    if PROVIDERS[name].dialect != "chat":
        assert "event: error" in last


async def test_an_unreachable_provider_is_told_apart() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        async with running_broker(compatible_base_url=gone, provider_retries=1) as rig:
            statuses = [(await rig.call()).status for _ in range(2)]
            assert statuses == [503, 403]
            reason, message = noted(rig)
    assert reason == "provider_unreachable"
    assert "OPEN_PERSONA_COMPATIBLE_BASE_URL" in message
    assert gone not in message


async def test_a_page_instead_of_a_stream_is_not_passed_on() -> None:
    async with running_broker(Reply(status=200)) as rig:
        rig.provider.script(Reply(headers={"content-type": "text/html"}, text=["x"]))
        answer = await rig.call()
        assert answer.status == 403
        assert "did not answer like a model provider" in noted(rig)[1]


async def test_the_overflow_that_opencode_mends_does_not_end_the_turn() -> None:
    full = Reply(status=400, body={"error": {"message": "This model's maximum context length is 8192 tokens"}})
    async with running_broker([full, "shorter"]) as rig:
        first = await rig.call()
        assert (first.status, "prompt is too long" in first.text) == (400, True)
        assert (await rig.call()).status == 200
        assert rig.turn.note.failure is None


async def test_a_connection_that_closes_after_the_end_is_no_failure() -> None:
    async with running_broker() as rig:
        answers = await asyncio.gather(*(rig.call(name, body_for(name)) for name in NAMES))
        assert {answer.status for answer in answers} == {200}
        assert rig.turn.note.failure is None
