"""A scriptable model provider over real HTTP on loopback that records what it is asked.

It answers ``…/chat/completions``, ``…/responses`` and ``…/messages`` in each vendor's own shape, streamed or plain::

    async with running_provider([Reply(tools=[ToolCall("grants_gov_list_codes")]), "done"]) as provider:
        ...                                   # provider.url is the base URL, "http://127.0.0.1:<port>/v1"
        await provider.wait_requests(2)
        assert provider.requests[0].tool_names == ["grants_gov_list_codes"]

Replies are used in order and the last one repeats; a callable is asked for each request. The name of the model in a
request is answered as it came. Nothing here waits unless a reply says so.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

from tests.fakes.provider_wire import Content, Dialect, Frame, Json, ToolCall, error_frame, frames, plain

__all__ = ["FakeProvider", "ProviderRequest", "Reply", "ToolCall", "running_provider"]

DIALECTS: Mapping[str, Dialect] = {"chat/completions": "chat", "responses": "responses", "messages": "messages"}
WAIT_S = 30.0


@dataclass(frozen=True)
class Reply:
    """One scripted answer.

    ``text`` and ``reasoning`` are lists of deltas. ``status`` other than 200 sends ``body`` (the text ``{key}`` in it
    and in ``headers`` becomes the caller's key). ``stall``: no byte at all, or nothing after the first delta, until the
    client leaves. ``cut``: after the first delta the connection is aborted, or the body ends without its terminal
    marker; ``stream_error``: after the first delta an error event with that message (``{key}`` as above) ends the
    stream. ``gate``: awaited before every event after the first delta. ``location`` in ``headers`` makes a redirect.
    """

    text: Sequence[str] = ()
    reasoning: Sequence[str] = ()
    tools: Sequence[ToolCall] = ()
    tokens: tuple[int, int] = (11, 7)
    status: int = 200
    body: Json | str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    stall: Literal["", "start", "middle"] = ""
    cut: Literal["", "abort", "end"] = ""
    gate: asyncio.Event | None = None
    stream_error: str = ""


@dataclass
class ProviderRequest:
    """One recorded call. ``closed`` is set when the client went away before the answer was complete."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, object]
    raw: bytes
    dialect: Dialect | None
    at: float
    serial: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    closed_at: float | None = None
    finished: bool = False

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def key(self) -> str:
        """The credential that arrived, wherever the vendor puts it."""
        return self.headers.get("x-api-key") or self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def tools(self) -> list[dict[str, object]]:
        found = self.body.get("tools")
        return [tool for tool in found if isinstance(tool, dict)] if isinstance(found, list) else []

    @property
    def tool_names(self) -> list[str]:
        """Names of the offered tools, sorted."""
        inner = (tool.get("function") for tool in self.tools)
        named = (fn if isinstance(fn, dict) else tool for fn, tool in zip(inner, self.tools, strict=True))
        return sorted(str(tool.get("name", tool.get("type", ""))) for tool in named)

    @property
    def messages(self) -> list[dict[str, object]]:
        found = self.body.get("messages") or self.body.get("input")
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []

    @property
    def system(self) -> str:
        """All system text, in order, joined by line ends."""
        parts = [_text(self.body.get("instructions")), _text(self.body.get("system"))]
        parts += [_text(item.get("content")) for item in self.messages if item.get("role") in ("system", "developer")]
        return "\n".join(part for part in parts if part)

    @property
    def user_texts(self) -> list[str]:
        """The text of each user message, oldest first."""
        return [text for item in self.messages if item.get("role") == "user" and (text := _text(item.get("content")))]

    @property
    def last_user(self) -> str:
        return self.user_texts[-1] if self.user_texts else ""

    @property
    def tool_results(self) -> list[str]:
        """The results of tools that the client sent back, oldest first."""
        return list(_tool_results(self.messages))


Script = Reply | str | Sequence[Reply | str] | Callable[[ProviderRequest], Reply | str]


class FakeProvider:
    """What ``running_provider`` yields."""

    def __init__(self, script: Script, models: Sequence[str] = ()) -> None:
        self.url = ""
        self.models = models
        self.requests: list[ProviderRequest] = []
        self._changed = asyncio.Condition()
        self.script(script)

    def script(self, script: Script) -> None:
        """Replace what is answered from now on."""
        self._callable = script if callable(script) else None
        self._replies = [] if callable(script) else [script] if isinstance(script, Reply | str) else list(script)

    async def wait_requests(self, count: int, timeout_s: float = WAIT_S) -> list[ProviderRequest]:
        """Return once ``count`` requests have arrived, else ``TimeoutError``."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def wait_closed(self, index: int = -1, timeout_s: float = WAIT_S) -> ProviderRequest:
        """Return once the client of that request has gone away before its end, else ``TimeoutError``."""
        await self.wait_requests(1 if index < 0 else index + 1, timeout_s)
        async with asyncio.timeout(timeout_s):
            await self.requests[index].closed.wait()
        return self.requests[index]

    def _next(self, request: ProviderRequest) -> Reply:
        if self._callable is not None:
            chosen = self._callable(request)
        elif not self._replies:
            chosen = Reply(text=["ok"])
        else:
            chosen = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        return Reply(text=[chosen]) if isinstance(chosen, str) else chosen

    async def handle(self, http: web.Request) -> web.StreamResponse:
        raw = await http.read()
        suffix = next((path for path in DIALECTS if http.path.endswith("/" + path)), "")
        body = _object(raw)
        request = ProviderRequest(
            method=http.method,
            path=http.path,
            headers={name.lower(): value for name, value in http.headers.items()},
            body=body,
            raw=raw,
            dialect=DIALECTS.get(suffix),
            at=time.monotonic(),
            serial=len(self.requests),
        )
        async with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
        if http.path.endswith("/models") and http.method == "GET" and self.models:
            return web.json_response(
                {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
            )
        if request.dialect is None or http.method != "POST":
            return web.json_response({"error": {"message": f"no route {http.path}"}}, status=404)
        try:
            response = await self._answer(http, request, self._next(request))
        except (asyncio.CancelledError, ConnectionError):
            request.closed_at = time.monotonic()
            request.closed.set()
            raise
        request.finished = True
        return response

    async def _answer(self, http: web.Request, request: ProviderRequest, reply: Reply) -> web.StreamResponse:
        headers = {name: value.replace("{key}", request.key) for name, value in reply.headers.items()}
        if reply.stall == "start":
            await asyncio.Event().wait()
        if reply.status != 200:
            text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
            kind = "text/plain" if isinstance(reply.body, str) else "application/json"
            content_type = headers.pop("content-type", kind)
            body = text.replace("{key}", request.key).encode()
            return web.Response(status=reply.status, body=body, headers=headers, content_type=content_type)
        assert request.dialect is not None
        content = _content(request, reply)
        if not request.body.get("stream"):
            return web.json_response(plain(request.dialect, content), headers=headers)
        failure = reply.stream_error.replace("{key}", request.key)
        last = error_frame(request.dialect, failure) if failure else None
        return await _stream(http, frames(request.dialect, content), reply, headers, last)


async def _stream(
    http: web.Request, events: Iterator[Frame], reply: Reply, headers: Mapping[str, str], error: Frame | None
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8", **headers})
    await response.prepare(http)
    begun = False
    for frame in events:
        if begun and reply.gate is not None:
            await reply.gate.wait()
        await response.write(frame.data)
        begun = begun or frame.delta
        if begun and reply.stall == "middle":
            await asyncio.Event().wait()
        if begun and error is not None:
            await response.write(error.data)
            break
        if begun and reply.cut:
            if reply.cut == "abort" and http.transport is not None:
                http.transport.abort()
                return response
            break
    await response.write_eof()
    return response


def _content(request: ProviderRequest, reply: Reply) -> Content:
    options, openrouter = request.body.get("stream_options"), isinstance(request.body.get("usage"), dict)
    include = isinstance(options, dict) and options.get("include_usage") is True
    return Content(
        text=reply.text,
        reasoning=reply.reasoning,
        tools=reply.tools,
        tokens_in=reply.tokens[0],
        tokens_out=reply.tokens[1],
        model=request.model,
        serial=request.serial,
        usage=include or openrouter or request.dialect != "chat",
        openrouter=openrouter,
    )


def _object(raw: bytes) -> dict[str, object]:
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)


def _tool_results(messages: Sequence[Mapping[str, object]]) -> Iterator[str]:
    for item in messages:
        if item.get("role") == "tool":
            yield _text(item.get("content"))
        elif item.get("type") == "function_call_output":
            output = item.get("output")
            yield output if isinstance(output, str) else _text(output)
        elif isinstance(parts := item.get("content"), list):
            results = (part for part in parts if isinstance(part, dict) and part.get("type") == "tool_result")
            yield from (_text(part.get("content")) for part in results)


@asynccontextmanager
async def running_provider(
    script: Script = "ok", models: Sequence[str] = (), host: str = "127.0.0.1"
) -> AsyncIterator[FakeProvider]:
    """Serve the script on a free port of ``host`` until the block ends; ``models`` are what ``GET …/models`` lists."""
    provider = FakeProvider(script, models)
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_route("*", "/{path:.*}", provider.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        provider.url = f"http://{host}:{port}/v1"
        yield provider
    finally:
        await runner.cleanup()
