"""A hub with its gateway over real HTTP, and a runner that calls it: what the gateway's tests share."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from pydantic import SecretStr
from starlette.requests import Request

from hub.app import create_app, open_hub
from hub.follow import RESCAN_S
from hub.leases import digest_of
from hub.routes import Hub
from hub.settings import HubSettings
from mcp_servers.kit.app import create_app as create_server_app
from tests.fakes.asgi_server import serve_app

KEY = "the-service-key"
SERVICE = {"Authorization": f"Bearer {KEY}"}
TOKEN = "the-runner-token"
MODERN = "2026-07-28"
ACCEPT = "application/json, text/event-stream"
ENVELOPE = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}

TOOLS = {"echo": "read", "count": "read", "wait": "write", "whoami": "read", "fill": "read", "shut": "destructive"}


class ToolServer:
    """A server of the kit with tools that show what reached them. ``waiting`` and ``cancelled`` tell of ``wait``."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.calls = 0
        self.app = create_server_app(self._server(), name="tools")

    def _server(self) -> MCPServer[Any]:
        server = MCPServer("tools", version="9")

        @server.tool()
        def echo(text: str) -> str:
            """Say it again."""
            self.calls += 1
            return text

        @server.tool()
        async def count(to: int, ctx: Context) -> str:
            """Count, telling of each number."""
            for number in range(1, to + 1):
                await ctx.report_progress(number, to, f"at {number}")
            return "counted"

        @server.tool()
        async def wait() -> str:
            """Wait for ever."""
            self.waiting.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
            return ""

        @server.tool()
        def whoami(ctx: Context) -> dict[str, str]:
            """The headers of the request."""
            request = ctx.request_context.request
            assert isinstance(request, Request)
            return dict(request.headers)

        @server.tool()
        def fill(size: int) -> str:
            """So many characters."""
            return "x" * size

        @server.tool()
        def shut() -> str:
            """Never granted."""
            return "done"

        return server


@dataclass
class Answer:
    """An HTTP answer as a runner sees it; ``messages`` are the JSON-RPC messages in it."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def messages(self) -> list[dict[str, Any]]:
        if "text/event-stream" not in self.headers.get("Content-Type", ""):
            return [json.loads(self.body)]
        lines = self.body.decode().splitlines()
        return [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = self.messages[-1]["result"]
        return found

    @property
    def text(self) -> str:
        return "".join(block.get("text", "") for block in self.result["content"])


@dataclass
class World:
    """A running hub, a plain HTTP client, and what its audit wrote."""

    url: str
    hub: Hub
    http: aiohttp.ClientSession
    written: list[dict[str, Any]] = field(default_factory=list)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The audit's lines so far, those that wait to be written among them."""
        self.hub.audit.flush()
        return self.written

    async def lease(
        self,
        grants: Mapping[str, Any],
        *,
        token: str = TOKEN,
        user: str = "u1",
        lease_id: str | None = None,
        address: str = "",
    ) -> str:
        """Put a lease; a grant is a list of tools, or (tools, settings)."""
        lease_id = lease_id or uuid.uuid4().hex
        listed = []
        for name, grant in grants.items():
            tools, settings = grant if isinstance(grant, tuple) else (grant, {})
            listed.append({"integration": name, "tools": list(tools), "settings": settings})
        body = {"runner": digest_of(token), "user": user, "persona": "izzy", "address": address, "grants": listed}
        url = f"{self.url}/api/v1/leases/{lease_id}"
        async with self.http.put(url, json=body, headers=SERVICE) as answer:
            assert answer.status == 200, await answer.text()
        return lease_id

    async def drop(self, lease_id: str) -> int:
        async with self.http.delete(f"{self.url}/api/v1/leases/{lease_id}", headers=SERVICE) as answer:
            return answer.status

    async def ask(
        self,
        name: str,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        modern: bool = False,
        token: str | None = TOKEN,
        request_id: object = 1,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One JSON-RPC request; ``request_id`` None makes it a notification."""
        sent = {"Accept": ACCEPT, "Content-Type": "application/json"}
        params = dict(params or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if modern:
            sent |= {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
            if method == "tools/call":
                sent["Mcp-Name"] = str(params["name"])
            params["_meta"] = {**ENVELOPE, **params.get("_meta", {})}
        message: dict[str, object] = {"jsonrpc": "2.0", "method": method, "params": params}
        if request_id is not None:
            message["id"] = request_id
        return await self.send(name, json.dumps(message).encode(), {**sent, **(headers or {})})

    async def send(
        self,
        name: str,
        body: bytes | io.BytesIO | AsyncIterator[bytes],
        headers: Mapping[str, str],
        method: str = "POST",
    ) -> Answer:
        async with self.http.request(method, f"{self.url}/mcp/{name}", data=body, headers=headers) as answer:
            return Answer(answer.status, await answer.read(), dict(answer.headers))

    async def call(self, name: str, tool: str, arguments: Mapping[str, Any] | None = None, **how: Any) -> Answer:
        return await self.ask(name, "tools/call", {"name": tool, "arguments": arguments or {}}, **how)

    @asynccontextmanager
    async def client(
        self, name: str, *, mode: Any = "auto", token: str = TOKEN, **options: Any
    ) -> AsyncIterator[Client]:
        """The official client."""
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=20, verify=False) as http:
            transport = streamable_http_client(f"{self.url}/mcp/{name}", http_client=http)
            async with Client(transport, mode=mode, cache=None, **options) as client:
                yield client

    async def until(self, condition: Callable[[], bool]) -> None:
        """A bounded wait for something that the hub does by itself."""
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)


def manifest_text(
    url: str,
    name: str,
    *,
    tools: Mapping[str, str] | None = None,
    limits: str = "{}",
    probe: str = "{}",
    ours: bool = False,
) -> str:
    """A manifest.yaml for a server at ``url``; ``ours``: one that the launcher would run there."""
    transport = f"{{type: python, port: {urlsplit(url).port}}}" if ours else f"{{type: http, url: '{url}/mcp'}}"
    shown = json.dumps(TOOLS if tools is None else tools)
    return (
        f"manifest_version: 1\nname: {name}\ntitle: {name.title()}\ndescription: A server of the tests.\n"
        f"transport: {transport}\ntools: {shown}\nlimits: {limits}\nprobe: {probe}\n"
    )


def add(servers: Path, name: str, text: str) -> None:
    (servers / name).mkdir()
    (servers / name / "manifest.yaml").write_text(text, "utf-8")


class _Lines(logging.Handler):
    def __init__(self, lines: list[dict[str, Any]]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(json.loads(record.getMessage()))


@asynccontextmanager
async def world(
    http: aiohttp.ClientSession, home: Path, servers: Path, *, rescan_s: float = RESCAN_S, **settings: Any
) -> AsyncIterator[World]:
    """A hub over the manifests in ``servers``, each probed once."""
    chosen = HubSettings.model_validate(
        {"home": home / "home", "mcp_servers_dir": servers, "service_key": SecretStr(KEY), **settings}
    )
    lines: list[dict[str, Any]] = []
    handler, audit = _Lines(lines), logging.getLogger("hub.audit")
    audit.addHandler(handler)
    audit.setLevel(logging.INFO)
    try:
        async with open_hub(chosen, rescan_s=rescan_s) as hub, serve_app(create_app(hub)) as url:
            made = World(url, hub, http, lines)
            await made.until(lambda: not hub.monitor.unchecked())
            yield made
    finally:
        audit.removeHandler(handler)
