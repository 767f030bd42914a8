"""The demo model: an OpenAI-compatible server on loopback that follows :mod:`open_persona.demo.script`.

Run it with ``python -m open_persona.demo.model --port N``. ``GET /demo/requests`` tells which tools each request
offered, never what anybody said.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Literal

import uvicorn
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from open_persona.demo import wire
from open_persona.demo.conversation import ChatRequest
from open_persona.demo.script import Call, Speech, respond

MODEL = "demo"
REMEMBERED_REQUESTS = 200


class SeenRequest(BaseModel):
    """One request as ``/demo/requests`` lists it: its number, the tools on offer, and what was answered."""

    model_config = ConfigDict(frozen=True)

    number: int
    model: str
    tools: tuple[str, ...]
    answered: Literal["text", "tool_call"]
    called: str | None = None


class SeenRequests(BaseModel):
    """The answer of ``/demo/requests``, oldest first."""

    requests: tuple[SeenRequest, ...]


class DemoModel:
    """The server's routes and the short list of what it was asked."""

    def __init__(self) -> None:
        self._seen: deque[SeenRequest] = deque(maxlen=REMEMBERED_REQUESTS)
        self._count = 0

    async def healthz(self, _request: Request) -> Response:
        """Answers as soon as the server runs."""
        return JSONResponse({"status": "ok"})

    async def models(self, _request: Request) -> Response:
        """``GET /v1/models``."""
        return JSONResponse(
            {
                "object": "list",
                "data": [{"id": MODEL, "object": "model", "created": wire.CREATED, "owned_by": "open-persona"}],
            }
        )

    async def requests(self, _request: Request) -> Response:
        """``GET /demo/requests``: a :class:`SeenRequests`."""
        return JSONResponse(SeenRequests(requests=tuple(self._seen)).model_dump(mode="json"))

    async def chat(self, request: Request) -> Response:
        """``POST /v1/chat/completions``; a body that is no such request is a 400 in OpenAI's shape."""
        body = await request.body()
        try:
            asked = ChatRequest.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            return _refusal(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        answer = respond(asked)
        self._note(asked, answer)
        identity = f"chatcmpl-{hashlib.sha256(body).hexdigest()[:24]}"
        spent = wire.usage(body.decode(), answer)
        if not asked.stream:
            return JSONResponse(wire.completion(identity, asked.model, answer, spent))
        counted = spent if asked.stream_options.include_usage else None
        return StreamingResponse(
            _paced(wire.events(identity, asked.model, answer, counted)), media_type="text/event-stream"
        )

    def _note(self, asked: ChatRequest, answer: Speech | Call) -> None:
        self._count += 1
        called = answer.tool if isinstance(answer, Call) else None
        self._seen.append(
            SeenRequest(
                number=self._count,
                model=asked.model,
                tools=tuple(function.name for function in asked.functions),
                answered="tool_call" if called else "text",
                called=called,
            )
        )


async def _paced(events: Iterator[str]) -> AsyncIterator[str]:
    """Each event in a write of its own, so that a reader sees them as they come."""
    for event in events:
        yield event
        await asyncio.sleep(0)


def _refusal(message: str) -> Response:
    return JSONResponse(
        {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}, status_code=400
    )


def create_app() -> Starlette:
    """The server, with a list of requests of its own."""
    model = DemoModel()
    return Starlette(
        routes=[
            Route("/healthz", model.healthz),
            Route("/v1/models", model.models),
            Route("/v1/chat/completions", model.chat, methods=["POST"]),
            Route("/demo/requests", model.requests),
        ]
    )


def main() -> None:
    """Serves until it is told to stop, on loopback unless told otherwise."""
    parser = argparse.ArgumentParser(prog="python -m open_persona.demo.model", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, required=True, help="port to listen on")
    options = parser.parse_args()
    uvicorn.run(create_app(), host=options.host, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
