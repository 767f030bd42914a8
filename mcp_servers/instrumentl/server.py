"""The Instrumentl server: the user's own projects, saved grants and deadlines, read over Instrumentl's REST API."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from starlette.applications import Starlette

from mcp_servers.instrumentl.client import ADVICE, DEFAULT_BASE_URL, POLICY, TITLE
from mcp_servers.instrumentl.tools import InstrumentlTools
from mcp_servers.kit.app import create_app
from mcp_servers.kit.integration import READ, Integration
from mcp_servers.kit.serve import serve
from mcp_servers.kit.upstream import Upstream

INTEGRATION = Integration.from_folder(Path(__file__).parent)
BASE_URL_ENV = "OPEN_PERSONA_INSTRUMENTL_BASE_URL"


def build_app(upstream: Upstream | None = None) -> Starlette:
    """The server as an ASGI app; ``upstream`` replaces the one that the environment names."""
    upstream = upstream or Upstream(
        os.environ.get(BASE_URL_ENV) or DEFAULT_BASE_URL, title=TITLE, policy=POLICY, advice=ADVICE
    )
    tools = InstrumentlTools(upstream, INTEGRATION)
    server: MCPServer[Any] = MCPServer(INTEGRATION.name, title=INTEGRATION.title, version="1")
    server.add_tool(tools.check_connection, title="Check the connection", annotations=READ)
    server.add_tool(tools.list_projects, title="List projects", annotations=READ)
    server.add_tool(tools.list_saved_grants, title="List saved grants", annotations=READ)
    server.add_tool(tools.search_my_grants, title="Search my grants", annotations=READ)
    server.add_tool(tools.get_grants, title="Read grants", annotations=READ)
    server.add_tool(tools.list_deadlines, title="List deadlines", annotations=READ)
    return create_app(server, name=INTEGRATION.name, closing=[upstream])


def main() -> None:
    assert INTEGRATION.transport.port is not None
    serve(build_app, name=INTEGRATION.name, default_port=INTEGRATION.transport.port)


if __name__ == "__main__":
    main()
