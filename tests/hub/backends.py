"""One backend behind a hub, answering calls as a test says: what the tests of strange backends share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.fakes.asgi_server import AsgiApp, serve_app
from tests.hub.runners import World, add, manifest_text, world
from tests.hub.servers import Handler, rpc_app, tool

GOOD = {"content": [{"type": "text", "text": "fine"}]}
LISTED = {"tools": [tool("echo"), tool("act")]}
TOOLS = {"echo": "read", "act": "write"}


def calling(handle: Handler) -> Starlette:
    """A modern server that lists well; its calls are answered by ``handle``."""

    async def mcp(request: Request) -> Response:
        message = await request.json()
        if message["method"] == "tools/call":
            return await handle(request)
        result: dict[str, Any] = {"supportedVersions": ["2026-07-28"], "capabilities": {}}
        result = LISTED if message["method"] == "tools/list" else result
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": result})

    return rpc_app(mcp)


def answer_to(message: dict[str, Any], result: object) -> Response:
    return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": result})


@asynccontextmanager
async def one(
    client: aiohttp.ClientSession, home: Path, servers: Path, app: AsgiApp, *, limits: str = "{}"
) -> AsyncIterator[World]:
    """A hub with this backend as ``bad``, and a lease for its tools."""
    async with serve_app(app) as url:
        add(servers, "bad", manifest_text(url, "bad", tools=TOOLS, limits=limits, ours=True))
        async with world(client, home, servers) as here:
            await here.lease({"bad": list(TOOLS)})
            yield here
