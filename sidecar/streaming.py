"""From a turn's outputs to the HTTP answer: server-sent chunks as they come, or one completion at the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

from sidecar.errors import SidecarError
from sidecar.events import Text
from sidecar.openai_models import (
    FinishReason,
    Json,
    Stamp,
    Usage,
    chunk,
    completion,
    error_event,
    status_event,
    terminal_chunk,
    usage_chunk,
)
from sidecar.outputs import Emit, Failure, Finish, Output, Status

DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": heartbeat\n\n"
Run = Callable[[Emit], Awaitable[None]]


def new_stamp(model: str) -> Stamp:
    return Stamp(id=f"chatcmpl-{uuid.uuid4().hex}", created=int(time.time()), model=model)


class TurnTask:
    """A turn running in a task of its own, and the queue of what it says.

    Leaving the context cancels a turn that still runs and waits for its clean-up. What an ended turn has left to tidy
    up goes on in ``LINGERING``: the client need not wait for it.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._outputs: asyncio.Queue[Output | None] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None
        self._ended = False

    async def __aenter__(self) -> TurnTask:
        self.task = asyncio.create_task(self._work())
        LINGERING.add(self)
        self.task.add_done_callback(lambda _: LINGERING.discard(self))
        return self

    async def __aexit__(self, *_: object) -> None:
        task = self.task
        if task is None or task.done() or self._ended:
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)

    def stop(self, error: SidecarError) -> None:
        """Ends the turn with ``error``; what it has said stands."""
        self._outputs.put_nowait(Failure(error))
        if self.task is not None:
            self.task.cancel()

    async def _work(self) -> None:
        try:
            await self._run(self._outputs.put_nowait)
        finally:
            self._outputs.put_nowait(None)

    async def next(self, timeout_s: float | None = None) -> Output | None:
        """The next output, None at the end. Raises ``TimeoutError``."""
        output = await asyncio.wait_for(self._outputs.get(), timeout_s)
        self._ended = self._ended or output is None or isinstance(output, Failure | Finish)
        return output


LINGERING: set[TurnTask] = set()
"""Every turn of this process that is not through with its clean-up."""


async def finish_turns(timeout_s: float) -> None:
    """Gives running turns ``timeout_s`` to end, then ends them with an error, so that each stream ends as it should."""
    tasks = [turn.task for turn in LINGERING if turn.task is not None]
    if tasks:
        await asyncio.wait(tasks, timeout=timeout_s)
        for turn in list(LINGERING):
            turn.stop(SidecarError("Open Persona is being restarted. Send the message again in a moment."))
        await asyncio.gather(*tasks, return_exceptions=True)


async def stream(run: Run, stamp: Stamp, *, include_usage: bool, heartbeat_s: float) -> AsyncIterator[bytes]:
    """Chunks as they come, a comment when nothing comes; always one terminal chunk and one ``[DONE]`` at the end."""
    yield _data(chunk(stamp, first=True))
    reason: FinishReason = "stop"
    usage = Usage()
    async with TurnTask(run) as turn:
        while True:
            try:
                output = await turn.next(heartbeat_s)
            except TimeoutError:
                yield HEARTBEAT
                continue
            match output:
                case Text(text=text, kind="answer"):
                    yield _data(chunk(stamp, content=text))
                case Text(text=text):
                    yield _data(chunk(stamp, reasoning=text))
                case Status(description=description, done=done):
                    yield _data(status_event(description, done=done))
                case Failure(error=error):
                    yield _data(error_event(error))
                    break
                case Finish():
                    reason, usage = output.reason, output.usage
                    break
                case None:
                    break
        yield _data(terminal_chunk(stamp, reason))
        if include_usage:
            yield _data(usage_chunk(stamp, usage))
        yield DONE


async def collect(run: Run, stamp: Stamp) -> Json:
    """The whole answer as one completion. Raises the ``SidecarError`` that ended the turn."""
    said: dict[str, list[str]] = {"answer": [], "reasoning": []}
    async with TurnTask(run) as turn:
        while output := await turn.next():
            match output:
                case Text(text=text, kind=kind):
                    said[kind].append(text)
                case Failure(error=error):
                    raise error
                case Finish(reason=reason, usage=usage):
                    content, reasoning = "".join(said["answer"]), "".join(said["reasoning"])
                    return completion(stamp, content=content, reasoning=reasoning, finish_reason=reason, usage=usage)
    raise SidecarError("The turn was stopped.")


async def spoken(text: str, stamp: Stamp, *, include_usage: bool) -> AsyncIterator[bytes]:
    """A ready text as a stream."""
    yield _data(chunk(stamp, first=True))
    yield _data(chunk(stamp, content=text))
    yield _data(terminal_chunk(stamp))
    if include_usage:
        yield _data(usage_chunk(stamp, Usage()))
    yield DONE


def _data(value: Json) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n\n"
