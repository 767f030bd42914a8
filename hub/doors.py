"""The gateway with all its parts, and its place in front of the hub's own routes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
from fastapi import FastAPI

from hub.access import Access
from hub.audit import Audit
from hub.backend_http import BackendHttp
from hub.board import Board
from hub.gateway import PREFIX, Check, Gateway
from hub.gateway_backend import Backend
from hub.gateway_calls import Calls
from hub.gateway_fronts import Fronts
from hub.gateway_sessions import Sessions
from hub.leases import Leases
from hub.rates import Rates

logger = logging.getLogger(__name__)

SWEEP_S = 1.0
NOWHERE = "/-"
"""A path that no route has."""


@asynccontextmanager
async def open_gateway(
    *,
    board: Board,
    leases: Leases,
    client: aiohttp.ClientSession,
    access: Access,
    audit: Audit,
    check: Check,
    mcp_host: str,
    sweep_s: float = SWEEP_S,
) -> AsyncIterator[Gateway]:
    """A gateway that works until the block is left; then its calls, leases and sessions have ended.

    Leases expire when they are looked at; every ``sweep_s`` those that nobody looks at do too, with their calls.
    """
    sessions = Sessions(client)
    backend = Backend(BackendHttp(), sessions)
    calls = Calls(backend, Rates(), audit)
    sweeper = asyncio.create_task(_sweep(leases, sessions, sweep_s), name="gateway sweeper")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(backend.close)
        stack.push_async_callback(_ended, sweeper)
        stack.callback(leases.close)
        stack.callback(calls.end_all)
        yield Gateway(Fronts(board, mcp_host), leases, calls, access, audit, check)


class Doors:
    """ASGI in front of the hub's own routes: a runner gets the gateway, and for all else what nobody has.

    A runner is whoever calls from a runner's network, or bears a runner's token. ``own`` has the hub's own routes.
    """

    def __init__(self, own: FastAPI, gateway: Gateway, access: Access, audit: Audit) -> None:
        self.own = own
        self._gateway = gateway
        self._access = access
        self._audit = audit

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            if scope["path"].startswith(PREFIX):
                await self._gateway(scope, receive, send)
                return
            if self._access.calls_from_runner(scope.get("client")) or self._gateway.bears_runner_token(scope):
                self._audit.refused("other_route")
                scope = {**scope, "path": NOWHERE, "raw_path": NOWHERE.encode()}
        await self.own(scope, receive, send)


async def _sweep(leases: Leases, sessions: Sessions, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            leases.expire()
            await sessions.sweep()
        except Exception:
            logger.exception("the gateway's sweep failed")


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))
