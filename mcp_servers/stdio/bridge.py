"""An MCP server over HTTP whose tools are those of a program that talks stdio."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from mcp.server import Server, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
)
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request

from mcp_servers.kit.app import http_app
from mcp_servers.kit.credentials import CallerSettings, caller_settings
from mcp_servers.kit.errors import MissingCredentials, ToolFailure, UpstreamTimeout, UpstreamUnavailable
from mcp_servers.kit.results import failure_result
from mcp_servers.stdio.conversation import ConversationOver, JsonObject, Progress, Refused
from mcp_servers.stdio.guard import Guard
from mcp_servers.stdio.listing import Listing
from mcp_servers.stdio.pool import Bounds, Pool
from mcp_servers.stdio.program import Program, Surroundings, start, to_stderr
from mcp_servers.stdio.recipe import Recipe, Values

logger = logging.getLogger(__name__)

SPARE_S = 5.0
"""A call ends this long after its limit, where nobody ended it before."""

Context = ServerRequestContext[None, object]


class Bridge:
    """The handlers of the server. Everything that runs does so within :meth:`lifespan`."""

    def __init__(self, recipe: Recipe, environ: Mapping[str, str], bounds: Bounds | None = None) -> None:
        self._recipe = recipe
        self._environ = environ
        timeout_s = recipe.integration.limits.timeout_s
        self._call_s = timeout_s + SPARE_S
        self._bounds = bounds or Bounds(wait_s=min(Bounds.wait_s, 0.6 * timeout_s))
        self._of_deployment = recipe.deployment_values(environ)
        self._user_settings = recipe.integration.model_copy(update={"settings": recipe.of_user})
        self._pool: Pool | None = None
        self._listing: Listing | None = None

    def app(self) -> Starlette:
        """The ASGI app, with the conventions of our own servers."""
        server: Server[None] = Server(
            self._recipe.name,
            version="1",
            title=self._recipe.title,
            description=self._recipe.integration.description,
            lifespan=self.lifespan,
            get_tool_input_schema=lambda tool: self._listing.schema(tool) if self._listing else None,
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
        )
        return http_app(server, name=self._recipe.name)

    @asynccontextmanager
    async def lifespan(self, _: Server[None]) -> AsyncIterator[None]:
        guard, recipe = Guard(), self._recipe
        around = Surroundings(recipe, guard, self._environ, to_stderr)

        async def begin(values: Values) -> Program:
            return await start(around, values)

        pool = self._pool = Pool(recipe.title, begin, self._bounds)
        lasting = not recipe.of_user
        values = {**self._of_deployment, **recipe.listing_values(self._environ)}
        self._listing = Listing(pool, values, lasting=lasting)
        if lasting:
            pool.keep(values)
        try:
            yield
        finally:
            await pool.close()
            await guard.close()

    async def list_tools(self, _: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        assert self._listing is not None
        try:
            return ListToolsResult(tools=await self._listing.tools())
        except ToolFailure as failure:
            raise MCPError(code=INTERNAL_ERROR, message=f"{failure.message}{self._hint()}") from None
        except (ConversationOver, TimeoutError):
            raise MCPError(code=INTERNAL_ERROR, message="The program did not list its tools.") from None
        except Refused as error:
            raise MCPError(code=error.code, message=error.message) from None

    async def call_tool(self, ctx: Context, params: CallToolRequestParams) -> CallToolResult:
        try:
            values = self._values_of(ctx)
            async with asyncio.timeout(self._call_s):
                return await self._called(values, params, _progress_of(ctx))
        except ToolFailure as failure:
            logger.info("tool %s: %s", params.name, failure.code)
            return failure_result(failure)
        except Refused as error:
            raise MCPError(code=error.code, message=error.message, data=error.data) from None
        except TimeoutError:
            return failure_result(UpstreamTimeout(f"{self._recipe.title} did not answer in time."))

    async def _called(self, values: Values, params: CallToolRequestParams, progress: Progress | None) -> CallToolResult:
        assert self._pool is not None
        title = self._recipe.title
        async with self._pool.use(values) as program:
            try:
                result = await program.call(params.name, params.arguments or {}, progress)
            except ConversationOver:
                raise UpstreamUnavailable(f"The program of {title} ended while it worked on this.") from None
        try:
            return CallToolResult.model_validate(result)
        except ValidationError:
            raise UpstreamUnavailable(f"{title} answered with something that is no result of a tool.") from None

    def _values_of(self, ctx: Context) -> Values:
        """What the program of this caller is started with. Raises MissingCredentials, which names every empty field."""
        headers = ctx.request.headers if isinstance(ctx.request, Request) else {}
        caller: CallerSettings = caller_settings(headers, self._user_settings, self._environ)
        settings = self._recipe.integration.settings
        caller.require(*(one.key for one in settings if one.required and one.scope == "user"))
        for one in settings:
            if one.required and one.scope == "deployment" and one.key not in self._of_deployment:
                variable = f"OPEN_PERSONA_{self._recipe.name}_{one.key}".upper()
                raise MissingCredentials(
                    f"“{one.title}” is not set.", what_to_do=f"Tell the operator of this deployment to set {variable}."
                )
        return {**self._of_deployment, **caller.values}

    def _hint(self) -> str:
        if not self._recipe.of_user:
            return ""
        return " If it needs a user's settings to start, give them an `example` in the manifest."


def _progress_of(ctx: Context) -> Progress | None:
    """Passes progress on to a caller who asked for it."""
    if not ctx.meta or ctx.meta.get("progress_token") is None:
        return None

    async def report(params: JsonObject) -> None:
        progress, total, message = params.get("progress"), params.get("total"), params.get("message")
        if isinstance(progress, int | float):
            await ctx.session.report_progress(
                progress,
                total if isinstance(total, int | float) else None,
                message if isinstance(message, str) else None,
            )

    return report
