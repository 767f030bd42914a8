"""Integrations for the tests: a good MCP server of the real SDK, and named ways of misbehaving."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from mcp.server import MCPServer
from mcp.server.streamable_http import EventStore
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from hub.manifest import Manifest

Handler = Callable[[Request], Awaitable[Response]]


def manifest_at(url: str, *, name: str = "demo", python: bool = False, **fields: Any) -> Manifest:
    """A manifest for a server at ``url`` (without path), as a remote one or as one of the launcher's."""
    transport = {"type": "python", "port": urlsplit(url).port} if python else {"type": "http", "url": f"{url}/mcp"}
    body = {"manifest_version": 1, "name": name, "title": name.title(), "description": "A server of the tests."}
    return Manifest.model_validate({**body, "transport": transport, "tools": {"echo": "read"}, **fields})


def yaml_at(url: str, name: str, *, tools: str = "{echo: read}", probe: str = "{}") -> str:
    """The same as the text of a manifest.yaml."""
    return (
        f"manifest_version: 1\nname: {name}\ntitle: {name.title()}\ndescription: A server of the tests.\n"
        f"transport: {{type: http, url: '{url}/mcp'}}\ntools: {tools}\nprobe: {probe}\n"
    )


def good_app(
    *,
    stateless: bool = True,
    hosts: list[str] | None = None,
    tools: tuple[str, ...] = ("echo",),
    events: EventStore | None = None,
) -> Starlette:
    """The official SDK's server with a /healthz route; both protocol eras."""
    server = MCPServer("good")

    def echo(text: str) -> str:
        """Say it again."""
        return text

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    for tool in tools:
        server.add_tool(echo, name=tool)
    server.custom_route("/healthz", methods=["GET"])(healthz)
    security = TransportSecuritySettings(allowed_hosts=hosts or ["127.0.0.1:*"])
    return server.streamable_http_app(
        streamable_http_path="/mcp", stateless_http=stateless, transport_security=security, event_store=events
    )


class KeptEvents(EventStore):
    """With a store the SDK's server begins each stream with an event that has no data."""

    def __init__(self) -> None:
        self.stored = 0

    async def store_event(self, stream_id: str, message: object) -> str:
        self.stored += 1
        return str(self.stored)

    async def replay_events_after(self, last_event_id: str, send_callback: object) -> None:
        return None


def rpc_app(mcp: Handler, healthz: Handler | None = None) -> Starlette:
    """A server whose /mcp does whatever ``mcp`` does."""
    routes = [Route("/mcp", mcp, methods=["POST", "DELETE"])]
    return Starlette(routes=routes + ([Route("/healthz", healthz)] if healthz else []))


def answering(status: int, body: bytes = b"no", media_type: str = "text/plain") -> Handler:
    async def handle(_: Request) -> Response:
        return Response(body, status, media_type=media_type)

    return handle


def listing(pages: list[dict[str, Any]], as_events: bool = False) -> Handler:
    """A modern server whose tools/list gives these results, page by page (the cursor is the page's number)."""

    async def handle(request: Request) -> Response:
        message = await request.json()
        result: dict[str, Any] = {"supportedVersions": ["2026-07-28"], "capabilities": {}}
        if message["method"] == "tools/list":
            result = pages[int(message["params"].get("cursor", "0"))]
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result})
        if not as_events:
            return Response(body, media_type="application/json")
        note = '{"jsonrpc": "2.0", "method": "notifications/message", "params": {}}'
        text = f": hello\r\nid: 7\r\ndata:\r\n\r\nevent: message\r\ndata: {note}\r\n\r\ndata: {body}\r\n\r\n"
        return StreamingResponse(iter([text[:40], text[40:]]), media_type="text/event-stream")

    return handle


def tool(name: object, **fields: object) -> dict[str, object]:
    return {"name": name, "description": "", "inputSchema": {"type": "object"}, **fields}


class Gated:
    """The good server, which answers only once ``release`` is set; ``asked`` is set by the first request."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.release = asyncio.Event()
        self._inner = good_app()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.asked.set()
            await self.release.wait()
        await self._inner(scope, receive, send)


class HandshakeServer:
    """A server of the older era alone, with sessions: 400 to whoever has none. Counts the sessions that are open."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.opened = 0
        self.app = rpc_app(self._handle)

    async def _handle(self, request: Request) -> Response:
        session = request.headers.get("mcp-session-id", "")
        if request.method == "DELETE":
            self.open.discard(session)
            return Response(status_code=204)
        message = await request.json()
        if message["method"] == "initialize":
            self.opened += 1
            session = f"s{self.opened}"
            self.open.add(session)
            result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
            headers = {"mcp-session-id": session}
            return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": result}, headers=headers)
        if session not in self.open:
            return Response("Bad Request: no session", 400)
        if "id" not in message:
            return Response(status_code=202)
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": {"tools": [tool("echo")]}})


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Accepts every connection and never answers."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


@asynccontextmanager
async def talking_server(answer: bytes) -> AsyncIterator[str]:
    """Answers any request with these bytes and closes the connection."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def free_address() -> str:
    """An address on which nothing listens."""
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()
    return url
