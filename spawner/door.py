"""The server behind the socket: reads a request, has it checked and done, and answers in Docker's own shape."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from aiohttp import web

from spawner.actions import Actions
from spawner.calls import Asked, read_call
from spawner.engine import Answer, Engine, as_answer
from spawner.errors import Absent, Busy, CallError, EngineError, Malformed
from spawner.event_relay import relay
from spawner.head import body_length
from spawner.settings import SpawnerSettings
from spawner.strict_json import parse, shown

log = logging.getLogger("spawner")
CALLS_AT_ONCE: Final = 32
STREAMS_AT_ONCE: Final = 8
WAIT_S: Final = 10.0
BODY_S: Final = 5.0
DRAIN_S: Final = 3.0


class Door:
    """``handle`` is aiohttp's handler. A call that has begun is finished even where its caller has gone."""

    def __init__(self, engine: Engine, settings: SpawnerSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._actions = Actions(engine, settings)
        self._room = asyncio.Semaphore(CALLS_AT_ONCE)
        self._running: set[asyncio.Task[Answer]] = set()
        self._streams: set[asyncio.Task[object]] = set()
        self._closing = False

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            if self._closing:
                raise Busy("The spawner is about to stop.")
            asked = read_call(request.method, request.raw_path)
            body = await _read_body(request, asked)
            if asked.call.name == "events":
                return await self._stream(request, asked)
            return _response(await self._done(asked, body))
        except CallError as error:
            return _refusal(request, error)

    async def close(self) -> None:
        """No further call; those that run get ``DRAIN_S``, streams end at once."""
        self._closing = True
        for stream in self._streams:
            stream.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=DRAIN_S)

    async def _done(self, asked: Asked, body: object) -> Answer:
        task = asyncio.create_task(self._do(asked, body))
        self._running.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[Answer]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have gone: then nobody else asks for it

    async def _do(self, asked: Asked, body: object) -> Answer:
        try:
            async with asyncio.timeout(WAIT_S):
                await self._room.acquire()
        except TimeoutError:
            raise Busy("Too many calls at once; try again.") from None
        try:
            return await self._actions.do(asked, body)
        finally:
            self._room.release()

    async def _stream(self, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        if len(self._streams) >= STREAMS_AT_ONCE:
            raise Busy(f"At most {STREAMS_AT_ONCE} event streams at once.")
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        events = relay(self._engine, asked, self._actions.label, self._settings.deployment)
        try:
            async with contextlib.aclosing(events):
                async for line in events:
                    await (response.write(line) if response.prepared else response.prepare(request))
        except (EngineError, ValueError) as error:
            if not response.prepared:
                raise
            # The stream ends without its last chunk, so the reader can tell that it was cut.
            log.warning("an event stream was cut: %s", error)
            if request.transport is not None:
                request.transport.close()
        finally:
            self._streams.discard(task)
        return response


async def _read_body(request: web.BaseRequest, asked: Asked) -> object:
    """The parsed body, None where the call has none. Raises ``CallError``."""
    length = body_length(asked.call, request.raw_headers)
    if not length:
        return parse(b"") if asked.call.body else None
    try:
        async with asyncio.timeout(BODY_S):
            return parse(await request.content.readexactly(length))
    except (TimeoutError, asyncio.IncompleteReadError):
        raise Malformed("The body did not come as announced.") from None


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body or None, headers={"Content-Type": answer.content_type})


def _refusal(request: web.BaseRequest, error: CallError) -> web.Response:
    """One line in the log, with the call but neither its query nor its body."""
    if not isinstance(error, Absent):
        where = shown(request.raw_path.partition("?")[0])
        log.warning("refused %s %s (%d): %s", shown(request.method), where, error.status, error)
    response = _response(as_answer({"message": str(error)}, error.status))
    # What follows on this connection could be the rest of a body that was not read.
    response.force_close()
    return response
