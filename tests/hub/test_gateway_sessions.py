"""Backends of the handshake era, which keep sessions: each runner has its own, and every session ends."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import Response

from hub.mcp_session import HANDSHAKE_VERSIONS
from tests.fakes.asgi_server import AsgiApp
from tests.hub.backends import one


def sessionful_app(closed: list[str], cancelled: asyncio.Event) -> AsgiApp:
    """The SDK's server with sessions, behind a door that knows the older era alone; notes the sessions it deletes."""
    server = MCPServer("old")
    counts: dict[str, int] = {}

    @server.tool()
    async def echo(ctx: Context) -> str:
        """How often this session has called, and for whom."""
        request = ctx.request_context.request
        assert isinstance(request, Request)
        session = request.headers["mcp-session-id"]
        counts[session] = counts.get(session, 0) + 1
        await ctx.report_progress(1, 1, "here")
        return f"{counts[session]} {request.headers.get('x-open-persona-setting-key', '')}"

    @server.tool()
    async def act() -> str:
        """Wait for ever."""
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return ""

    security = TransportSecuritySettings(allowed_hosts=["127.0.0.1:*"])
    app = server.streamable_http_app(streamable_http_path="/mcp", transport_security=security)

    async def old_alone(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        version = headers.get(b"mcp-protocol-version", b"2025-11-25").decode()
        if scope["type"] == "http" and version not in HANDSHAKE_VERSIONS:
            await Response("Unsupported protocol version", 400)(scope, receive, send)
            return
        if scope["type"] == "http" and scope["method"] == "DELETE":
            closed.append(headers[b"mcp-session-id"].decode())
        await app(scope, receive, send)

    return old_alone


@pytest.mark.requirement("gateway:handshake-backends")
async def test_a_backend_with_sessions_gets_one_for_each_runner(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    closed: list[str] = []
    cancelled = asyncio.Event()
    async with one(client, tmp_path, servers_dir, sessionful_app(closed, cancelled)) as here:
        await here.lease({"bad": (["echo", "act"], {"key": "k1"})})
        await here.lease({"bad": (["echo"], {"key": "k2"})}, token="other")
        probed = len(closed)
        seen: list[float] = []

        async def progress(progress: float, total: float | None, message: str | None) -> None:
            seen.append(progress)

        for mode, expected in (("auto", "1 k1"), ("legacy", "2 k1")):
            async with here.client("bad", mode=mode) as mcp:
                result = await mcp.call_tool("echo", {}, progress_callback=progress)
                assert result.content[0].text == expected  # type: ignore[union-attr]
        assert seen == [1, 1]
        assert (await here.call("bad", "echo", token="other")).text == "1 k2"
        waiting = asyncio.create_task(here.call("bad", "act", request_id="w"))
        await here.until(lambda: bool(here.hub.gateway._calls._running))
        await asyncio.sleep(0.1)
        await here.ask("bad", "notifications/cancelled", {"requestId": "w"}, request_id=None)
        assert (await waiting).result["isError"]
        await asyncio.wait_for(cancelled.wait(), 5)
        for session in here.hub.gateway._calls._backend._sessions._slots.values():
            assert session.session is not None
            session.session._session_id = "forgotten"
        assert (await here.call("bad", "echo")).text == "1 k1", "a forgotten session is opened anew"
        assert len(closed) == probed
    assert len(closed) >= probed + 2


@pytest.mark.requirement("gateway:handshake-backends")
async def test_an_unused_session_is_deleted(client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path) -> None:
    closed: list[str] = []
    async with one(client, tmp_path, servers_dir, sessionful_app(closed, asyncio.Event())) as here:
        assert (await here.call("bad", "echo")).text.startswith("1")
        sessions = here.hub.gateway._calls._backend._sessions
        probed = len(closed)
        for slot in sessions._slots.values():
            slot.used_at -= 3600
        await here.until(lambda: len(sessions) == 0)
        await here.until(lambda: len(closed) > probed)
