"""A real MCP server whose tools change while it runs."""

from __future__ import annotations

from typing import Any

from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hub.probe import utc_now
from hub.routes import Hub


class ChangingServer:
    """Served by ``app``; it has a tool ``echo`` (and whatever is set) that says its words again."""

    def __init__(self, **tools: str) -> None:
        self._server: MCPServer[Any] = MCPServer("changing")
        self._names: set[str] = set()
        self.set(**tools or {"echo": "Say it again."})
        self._server.custom_route("/healthz", methods=["GET"])(_healthz)
        security = TransportSecuritySettings(allowed_hosts=["127.0.0.1:*"])
        self.app = self._server.streamable_http_app(
            streamable_http_path="/mcp", stateless_http=True, transport_security=security
        )

    def set(self, **tools: str) -> None:
        """From now on these are its tools, by name with their descriptions."""
        for name in self._names:
            self._server.remove_tool(name)
        self._names = set(tools)
        for name, description in tools.items():
            self._server.add_tool(_again, name=name, description=description)


async def checked(hub: Hub, name: str) -> None:
    """Have it checked by a check that begins now: one that is being stored may have looked before a change."""
    now = utc_now()
    while (await hub.monitor.check_now(name)).at < now:
        pass


async def _healthz(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _again(text: str) -> str:
    return text
