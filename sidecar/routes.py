"""The OpenAI surface: models, chat completions, and what Open WebUI asks in the background."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive

from sidecar.errors import Overloaded, SidecarError, TooLarge
from sidecar.identity import Identity, parse_identity
from sidecar.openai_models import ChatRequest, completion, error_body, models_list, parse_chat_request
from sidecar.opencode_config import build_config
from sidecar.personas import Persona, known_models
from sidecar.services import Services
from sidecar.streaming import Run, collect, new_stamp, spoken, stream
from sidecar.tasks import run_task

router = APIRouter()
STARTED = int(time.time())
NO_BUFFERING = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def services(request: Request) -> Services:
    held: Services = request.app.state.services
    return held


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The sidecar itself: no key, nothing of its state."""
    return {"status": "ok", "service": "open-persona-sidecar"}


@router.get("/v1/models")
async def models(request: Request) -> JSONResponse:
    """The base models that an admin can choose."""
    held = services(request)
    return JSONResponse(models_list(known_models(held.turns.templates), created=STARTED))


@router.post("/v1/chat/completions")
async def chat_completions(request: Request) -> Response:
    """One turn, or one background task of Open WebUI's."""
    held = services(request)
    identity = parse_identity(request.headers)
    body = await _body(request, held.settings.max_body_bytes)
    chat = parse_chat_request(body, max_bytes=held.settings.max_body_bytes)
    if identity.task:
        return await _task(held, identity, chat)
    if told := held.commands.read(identity, chat):
        return await _answer(held, chat, told.persona, partial(held.commands.run, told), request.receive)
    asked = await held.turns.ask(identity, chat)
    await held.turns.admit(asked)
    return await _answer(held, chat, asked.persona, partial(held.turns.run, asked), request.receive)


@router.post("/v1/open-persona/config")
async def config(request: Request) -> Response:
    """The opencode config that a turn with these headers and this model would get; it holds no secret."""
    held = services(request)
    identity = parse_identity(request.headers)
    body = await _body(request, held.settings.max_body_bytes)
    asked = await held.turns.ask(identity, parse_chat_request(body, max_bytes=held.settings.max_body_bytes))
    built = build_config(
        templates=held.turns.templates,
        personas=[asked.persona],
        catalog=asked.catalog,
        door=held.turns.door,
        settings=held.settings,
    )
    return JSONResponse(built.document)


async def _task(held: Services, identity: Identity, chat: ChatRequest) -> Response:
    keys = held.effective_keys(identity)
    text = await run_task(identity.task, chat, held.settings, keys, held.http)
    stamp = new_stamp(chat.model)
    if chat.stream:
        return _event_stream(spoken(text, stamp, include_usage=chat.include_usage))
    return JSONResponse(completion(stamp, content=text))


async def _answer(held: Services, chat: ChatRequest, persona: Persona, turn: Run, receive: Receive) -> Response:
    run = held.metrics.watched(turn, persona.template.id if persona.template else "")
    stamp = new_stamp(chat.model)
    if chat.stream:
        heartbeat_s = held.settings.heartbeat_s
        return _event_stream(stream(run, stamp, include_usage=chat.include_usage, heartbeat_s=heartbeat_s))
    answer = asyncio.create_task(collect(run, stamp))
    gone = asyncio.create_task(_client_gone(receive))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        return JSONResponse(answer.result()) if answer.done() else Response(status_code=499)
    finally:
        answer.cancel()
        gone.cancel()
        await asyncio.gather(answer, gone, return_exceptions=True)


async def _client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _event_stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(events, media_type="text/event-stream", headers=NO_BUFFERING)


async def _body(request: Request, limit: int) -> bytes:
    """Reads the body up to ``limit`` bytes, so that a huge one is refused before it is held."""
    declared = request.headers.get("content-length", "0")
    parts: list[bytes] = []
    size = int(declared) if declared.isdigit() else 0
    if size <= limit:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > limit:
                break
            parts.append(part)
    if size > limit:
        raise TooLarge(f"The request is larger than {limit} bytes. Send less text or smaller images.", param="body")
    return b"".join(parts)


async def error_response(_request: Request, error: Exception) -> JSONResponse:
    """Every error of ours in OpenAI's shape."""
    assert isinstance(error, SidecarError)
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Overloaded) else {}
    return JSONResponse(error_body(error), status_code=error.status, headers=headers)
