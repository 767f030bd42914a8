"""From an ``MCPServer`` with tools to an ASGI app that shows tools and nothing else.

The app is built on the SDK's low-level server from the public surface of the ``MCPServer``. A plain ``MCPServer``
also serves resources and prompts, empty ones too, and opencode gives a model extra tools for any server that does.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from mcp.server import MCPServer, Server, ServerRequestContext
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    InputRequiredResult,
    ListToolsResult,
    PaginatedRequestParams,
)
from mcp.types import Tool as ToolDefinition
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from mcp_servers.kit.errors import InternalFailure, InvalidArgument, ToolFailure
from mcp_servers.kit.results import failure_result
from mcp_servers.kit.schema import slim_schema

logger = logging.getLogger(__name__)

ALLOWED_HOSTS_ENV = "OPEN_PERSONA_MCP_ALLOWED_HOSTS"
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Closable(Protocol):
    """Something that the app closes when it stops, such as an ``Upstream``."""

    async def aclose(self) -> None: ...


def create_app(
    server: MCPServer[Any], *, name: str, allowed_hosts: Sequence[str] | None = None, closing: Sequence[Closable] = ()
) -> Starlette:
    """Serve the tools of ``server`` at ``/mcp`` (both protocol eras, stateless) and its life at ``/healthz``.

    ``allowed_hosts`` are the ``Host`` names accepted beside loopback; by default those of
    ``OPEN_PERSONA_MCP_ALLOWED_HOSTS`` (comma separated). Everything in ``closing`` is closed when the app stops.
    Answers are event streams, so progress of a running call reaches the caller.
    """
    return http_app(_Tools(server, closing).lowlevel(), name=name, allowed_hosts=allowed_hosts)


def http_app(server: Server[Any], *, name: str, allowed_hosts: Sequence[str] | None = None) -> Starlette:
    """The same for a low-level server, whose handlers say what it shows."""
    hosts = _hosts_from_environment(os.environ) if allowed_hosts is None else allowed_hosts

    async def healthz(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "name": name})

    return server.streamable_http_app(
        streamable_http_path="/mcp",
        stateless_http=True,
        json_response=False,
        transport_security=transport_security(hosts),
        custom_starlette_routes=[Route("/healthz", healthz, methods=["GET"])],
    )


def transport_security(hosts: Sequence[str]) -> TransportSecuritySettings:
    """Loopback and ``hosts`` on any port; browsers only from loopback pages."""
    names = dict.fromkeys([*_LOOPBACK, *hosts])
    return TransportSecuritySettings(
        allowed_hosts=[form for host in names for form in (host, f"{host}:*")],
        allowed_origins=[form for host in _LOOPBACK for form in (f"http://{host}", f"http://{host}:*")],
    )


def _hosts_from_environment(environ: Mapping[str, str]) -> list[str]:
    return [host.strip() for host in environ.get(ALLOWED_HOSTS_ENV, "").split(",") if host.strip()]


class _Tools:
    """The two handlers that make up a server: ``tools/list`` and ``tools/call``."""

    def __init__(self, server: MCPServer[Any], closing: Sequence[Closable]) -> None:
        self._server = server
        self._closing = closing
        self._definitions: dict[str, ToolDefinition] = {}

    def lowlevel(self) -> Server[Any]:
        source = self._server
        lowlevel: Server[Any] = Server(
            source.name,
            version=source.version,
            title=source.title,
            description=source.description,
            instructions=source.instructions,
            website_url=source.website_url,
            icons=source.icons,
            lifespan=self._lifespan,
            get_tool_input_schema=self._input_schema,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
        )
        lowlevel.middleware[:] = source.middleware
        return lowlevel

    @asynccontextmanager
    async def _lifespan(self, _: Server[Any]) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            for resource in self._closing:
                stack.push_async_callback(resource.aclose)
            self._definitions = {tool.name: _slim(tool) for tool in await self._server.list_tools()}
            own = self._server.settings.lifespan
            yield await stack.enter_async_context(own(self._server)) if own else {}

    def _input_schema(self, name: str) -> Mapping[str, Any] | None:
        tool = self._definitions.get(name)
        return None if tool is None else tool.input_schema

    async def _list_tools(
        self, _: ServerRequestContext[Any, Any], __: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=[self._definitions[name] for name in sorted(self._definitions)])

    async def _call_tool(
        self, ctx: ServerRequestContext[Any, Any], params: CallToolRequestParams
    ) -> CallToolResult | InputRequiredResult:
        tool = self._definitions.get(params.name)
        if tool is None:
            raise MCPError(code=INVALID_PARAMS, message=f"Unknown tool: {params.name}")
        try:
            arguments = _known_arguments(tool, params.arguments or {})
            context = Context(request_context=ctx, mcp_server=self._server, input_params=params)
            return await self._server.call_tool(params.name, arguments, context)
        except ToolError as error:
            failure = _failure(error, tool)
            if isinstance(failure, InternalFailure):
                logger.error("tool %s failed", tool.name, exc_info=error)
            else:
                logger.info("tool %s: %s", tool.name, failure.code)
            return failure_result(failure)


def _slim(tool: ToolDefinition) -> ToolDefinition:
    """Its input schema slimmed. Not the output schema: no model reads it, and there null is a value."""
    return tool.model_copy(update={"input_schema": slim_schema(tool.input_schema)})


def _known_arguments(tool: ToolDefinition, arguments: dict[str, Any]) -> dict[str, Any]:
    """Refuse an argument that the tool lacks: ignored, it would silently widen what is asked for."""
    known = tool.input_schema.get("properties", {})
    for name in arguments:
        if name not in known:
            valid = ", ".join(known) or "none"
            raise InvalidArgument(name[:60], "this tool has no such argument", what_to_do=f"Use only: {valid}.")
    return arguments


def _failure(error: ToolError, tool: ToolDefinition) -> ToolFailure:
    """What the model may read of ``error``. The SDK wraps what a tool raised, and keeps it as the cause."""
    origin = error if isinstance(error, ToolFailure) else error.__cause__
    if isinstance(origin, ToolFailure):
        return origin
    if isinstance(origin, ValidationError) and origin.title == f"{tool.name}Arguments":
        return _rejected(origin)
    return InternalFailure("The tool failed because of a fault in this server.")


def _rejected(error: ValidationError) -> InvalidArgument:
    """Names each argument at fault and what is wrong with it, without repeating its value."""
    problems = {
        ".".join(str(part) for part in entry["loc"]): entry["msg"]
        for entry in error.errors(include_url=False, include_input=False, include_context=False)
    }
    field, problem = next(iter(problems.items()))
    others = "; ".join(f"{name}: {text}" for name, text in list(problems.items())[1:5])
    return InvalidArgument(field, f"{problem}; {others}" if others else problem)
