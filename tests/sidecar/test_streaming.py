from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from sidecar.errors import ProviderError
from sidecar.events import Text
from sidecar.openai_models import Stamp, Usage
from sidecar.outputs import Emit, Failure, Finish, Output, Status
from sidecar.streaming import LINGERING, Run, collect, finish_turns, spoken, stream

STAMP = Stamp(id="chatcmpl-1", created=1, model="m")
USAGE = Usage(prompt=3, completion=2)


def saying(*outputs: Output) -> Run:
    async def run(emit: Emit) -> None:
        for output in outputs:
            emit(output)

    return run


async def lines(source: AsyncIterator[bytes]) -> list[str]:
    return [block.decode().strip() async for block in source]


def parsed(blocks: list[str]) -> list[dict[str, object]]:
    return [json.loads(block.removeprefix("data: ")) for block in blocks if block.startswith("data: {")]


def reasons(blocks: list[str]) -> list[object]:
    choices = [choice for event in parsed(blocks) for choice in event.get("choices", [])]  # type: ignore[attr-defined]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


@pytest.mark.parametrize(
    "outputs",
    [
        (Text("a"), Finish("stop", USAGE)),
        (Text("a"), Failure(ProviderError("it failed"))),
        (Failure(ProviderError("it failed")),),
        (Text("a"),),
        (),
    ],
)
@pytest.mark.requirement("stream:ends-once")
async def test_a_stream_ends_once_whatever_happens(outputs: tuple[Output, ...]) -> None:
    blocks = await lines(stream(saying(*outputs), STAMP, include_usage=False, heartbeat_s=5))
    assert len(reasons(blocks)) == 1
    assert [block for block in blocks if block == "data: [DONE]"] == blocks[-1:]


async def test_everything_that_is_said_is_in_the_stream_in_order() -> None:
    said = (
        Status("starting"),
        Text("hm", "reasoning"),
        Text("yes"),
        Status("done", done=True),
        Finish("length", USAGE),
    )
    blocks = await lines(stream(saying(*said), STAMP, include_usage=True, heartbeat_s=5))
    first, status, reasoning, text, done, terminal, usage = parsed(blocks)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}  # type: ignore[index]
    assert status["event"]["data"] == {"description": "starting", "done": False}  # type: ignore[index]
    assert reasoning["choices"][0]["delta"] == {"reasoning_content": "hm"}  # type: ignore[index]
    assert text["choices"][0]["delta"] == {"content": "yes"}  # type: ignore[index]
    assert done["event"]["data"]["done"] is True  # type: ignore[index]
    assert terminal["choices"][0]["finish_reason"] == "length"  # type: ignore[index]
    assert usage["usage"]["total_tokens"] == 5  # type: ignore[index]


async def test_a_silent_turn_is_filled_with_comments() -> None:
    go_on = asyncio.Event()

    async def run(emit: Emit) -> None:
        await go_on.wait()
        emit(Finish("stop", USAGE))

    comments = 0
    async for block in stream(run, STAMP, include_usage=False, heartbeat_s=0.01):
        comments += block.startswith(b":")
        if comments == 2:
            go_on.set()
    assert comments >= 2


@pytest.mark.requirement("stream:client-gone")
async def test_leaving_a_stream_cancels_the_turn_and_waits_for_its_clean_up() -> None:
    tidy: list[str] = []

    async def run(emit: Emit) -> None:
        try:
            emit(Text("a"))
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            tidy.append("done")

    source = stream(run, STAMP, include_usage=False, heartbeat_s=5)
    async for block in source:
        if b'"a"' in block:
            break
    await source.aclose()  # type: ignore[attr-defined]
    assert tidy == ["done"]


async def test_the_client_does_not_wait_for_what_an_ended_turn_tidies_up() -> None:
    tidied = asyncio.Event()

    async def run(emit: Emit) -> None:
        emit(Finish("stop", USAGE))
        await tidied.wait()

    assert (await lines(stream(run, STAMP, include_usage=False, heartbeat_s=5)))[-1] == "data: [DONE]"
    assert len(LINGERING) == 1
    tidied.set()
    await finish_turns(5)
    assert not LINGERING


async def test_late_clean_up_is_cancelled_at_the_end() -> None:
    async def run(emit: Emit) -> None:
        emit(Finish("stop", USAGE))
        await asyncio.Event().wait()

    await lines(stream(run, STAMP, include_usage=False, heartbeat_s=5))
    await finish_turns(0.01)
    assert not LINGERING


async def test_a_whole_answer_is_one_completion_or_the_error() -> None:
    whole = await collect(saying(Text("a"), Status("x"), Text("b"), Finish("stop", USAGE)), STAMP)
    assert whole["choices"][0]["message"]["content"] == "ab"  # type: ignore[index]
    with pytest.raises(ProviderError, match="it failed"):
        await collect(saying(Text("a"), Failure(ProviderError("it failed"))), STAMP)


async def test_a_ready_text_is_streamed() -> None:
    blocks = await lines(spoken("title", STAMP, include_usage=True))
    assert parsed(blocks)[1]["choices"][0]["delta"] == {"content": "title"}  # type: ignore[index]
    assert blocks[-1] == "data: [DONE]"
