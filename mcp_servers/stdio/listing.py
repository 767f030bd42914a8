"""What ``tools/list`` is answered with: asked of the program that runs for all, or of one that starts for this alone.

Where each user has a program of their own, none of theirs is asked: a short-lived one is started with the operator's
values or the manifest's examples, and its answer is used again for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from mcp.types import Tool
from pydantic import ValidationError

from mcp_servers.stdio.conversation import JsonObject
from mcp_servers.stdio.pool import Pool
from mcp_servers.stdio.recipe import Values

logger = logging.getLogger(__name__)

KEEP_S = 600.0
ASK_S = 30.0


class Listing:
    """The tools of one integration. ``lasting``: the program of ``values`` runs anyway and is asked each time."""

    def __init__(self, pool: Pool, values: Values, *, lasting: bool, keep_s: float = KEEP_S) -> None:
        self._pool = pool
        self._values = values
        self._lasting = lasting
        self._keep_s = keep_s
        self._turn = asyncio.Lock()
        self._tools: list[Tool] = []
        self._schemas: dict[str, Mapping[str, object]] = {}
        self._until = 0.0

    def schema(self, tool: str) -> Mapping[str, object] | None:
        """The input schema of a tool, as it was listed last."""
        return self._schemas.get(tool)

    async def tools(self) -> list[Tool]:
        """As the program lists them, or listed them last where it works on a call: many do one thing at a time, and
        one that is busy is not down. Raises UpstreamUnavailable, Refused, ConversationOver, TimeoutError.
        """
        if self._lasting and self._tools and self._pool.is_busy(self._values):
            return self._tools
        async with self._turn:
            if self._lasting or asyncio.get_running_loop().time() >= self._until:
                await self._ask()
            return self._tools

    async def _ask(self) -> None:
        async with asyncio.timeout(ASK_S), self._pool.use(self._values) as program:
            listed = await program.tools()
        self._tools = _checked(listed)
        self._schemas = {tool.name: tool.input_schema for tool in self._tools}
        if not self._lasting:
            self._until = asyncio.get_running_loop().time() + self._keep_s
            await self._pool.end(self._values)


def _checked(listed: Sequence[JsonObject]) -> list[Tool]:
    """Those that are tools by the protocol's own types."""
    tools = []
    for raw in listed:
        try:
            tools.append(Tool.model_validate(raw))
        except ValidationError:
            logger.error("a tool is left out: its definition is not one of MCP's")
    return tools
