"""The runners' door to the integrations, ``/mcp/{name}``: an MCP server without sessions, in both protocol eras.

Everything but ``tools/call`` is answered from the last probe, so no backend can keep a runner waiting. A runner that
may not reach something gets the very answer that it gets for what does not exist.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from starlette.datastructures import Headers

from hub.access import Access, bearer, credentials, peer_address
from hub.audit import NOBODY, Audit, Caller
from hub.errors import RequestError, RpcError
from hub.gateway_calls import Calls
from hub.gateway_fronts import Front, Fronts
from hub.gateway_messages import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Asked,
    encoded,
    error_body,
    read_request,
    result_body,
    status_of,
)
from hub.gateway_reply import Message, Receive, Reply, Send, read_body
from hub.leases import HeldLease, Leases, digest_of
from hub.outcomes import Refusal

logger = logging.getLogger(__name__)

PREFIX = "/mcp/"
MAX_BODY_BYTES = 4 * 1024 * 1024
BODY_S = 30.0
FIRST_PROBE_S = 1.0
"""How long the first ``tools/list`` after the hub's start waits for the first probe, which has the definitions."""

_NOT_FOUND = encoded({"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "Not found"}})

Check = Callable[[str], Awaitable[object]]


class _Called(NamedTuple):
    """What a request says of who calls what, and where its connection comes from."""

    token: str
    name: str
    address: str


class Gateway:
    """Answers requests of runners. ``check`` probes an integration now, or joins the probe that runs."""

    def __init__(
        self, fronts: Fronts, leases: Leases, calls: Calls, access: Access, audit: Audit, check: Check
    ) -> None:
        self._fronts = fronts
        self._leases = leases
        self._calls = calls
        self._access = access
        self._audit = audit
        self._check = check

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        reply = Reply(send, events="text/event-stream" in headers.get("accept", ""))
        try:
            self._access.check_door(headers)
        except RequestError as error:
            await reply.finish(error.status, error_body(None, INVALID_REQUEST, error.message))
            return
        called = _Called(bearer(headers), str(scope["path"])[len(PREFIX) :], str(peer_address(scope.get("client"))))
        if self._admitted(called) is None:
            await reply.finish(404, _NOT_FOUND)
        elif scope["method"] != "POST":
            await send({"type": "http.response.start", "status": 405, "headers": [(b"allow", b"POST")]})
            await send({"type": "http.response.body", "body": b""})
        elif (body := await _body(receive)) is None:
            await reply.finish(413, error_body(None, INVALID_REQUEST, "The body is too large, or did not come"))
        elif (admitted := self._admitted(called)) is None:  # the lease or the integration went while it came
            await reply.finish(404, _NOT_FOUND)
        else:
            await self._post(scope, *admitted, body, reply, receive)

    def stop(self) -> None:
        """End the calls in flight, because the hub stops."""
        self._calls.end_all()

    def gone(self, integration: str) -> None:
        """End the calls in flight of an integration that is in the catalog no more."""
        self._calls.end_of(integration)

    def bears_runner_token(self, scope: Message) -> bool:
        """Whether a request elsewhere bears, in whatever header, the token of a runner that has or had a lease."""
        return any(self._leases.knows_runner(digest_of(token)) for token in credentials(Headers(scope=scope)))

    def _admitted(self, called: _Called) -> tuple[Front, list[HeldLease]] | None:
        """The integration and the runner's live leases, if one holds it; else an audit line says why not."""
        leases = self._leases.of_runner(digest_of(called.token), called.address) if called.token else []
        front = self._fronts.of(called.name) if leases else None
        if front is not None and any(called.name in held.grants for held in leases):
            return front, leases
        why: Refusal = "not_granted"
        if not leases:
            why = "unknown_token" if called.token else "no_token"
        elif front is None:
            why = "unknown_integration"
        self._audit.refused(why, called.name, Caller(leases[0].user, leases[0].persona) if leases else NOBODY)
        return None

    async def _post(
        self, scope: Message, front: Front, leases: list[HeldLease], body: bytes, reply: Reply, receive: Receive
    ) -> None:
        asked: Asked | None = None
        try:
            asked = read_request(body, scope["headers"])
            if asked.id is None:
                self._notified(asked, front, leases[0].runner)
                await reply.finish(202, b"")
            elif asked.method == "tools/call":
                await self._calls.answer(asked, front, leases, scope["headers"], reply, receive)
            else:
                await reply.finish(200, result_body(asked.id, await self._answered(asked, front)))
        except RpcError as error:
            request_id, modern = (asked.id, asked.modern) if asked else (error.id, True)
            await reply.finish(
                status_of(error.code, modern=modern), error_body(request_id, error.code, error.message, error.data)
            )

    async def _answered(self, asked: Asked, front: Front) -> bytes:
        """The result of anything but a call. Raises RpcError."""
        match asked.method:
            case "tools/list":
                return await self._listed(asked, front)
            case "server/discover" if asked.modern:
                return front.discovered()
            case "initialize" if not asked.modern:
                return front.initialized(asked.params.get("protocolVersion"))
            case "ping" if not asked.modern:
                return b"{}"
        raise RpcError(METHOD_NOT_FOUND, "Method not found")

    async def _listed(self, asked: Asked, front: Front) -> bytes:
        if not front.described and not front.unavailable:
            try:
                async with asyncio.timeout(FIRST_PROBE_S):
                    await self._check(front.name)
            except (TimeoutError, RequestError):
                logger.info("%s was listed before its first check", front.name)
            front = self._fronts.of(front.name) or front
        return front.page(asked.params.get("cursor", ""), modern=asked.modern)

    def _notified(self, asked: Asked, front: Front, runner: str) -> None:
        """Of notifications only a cancellation means something here; the modern era has none (it hangs up)."""
        if asked.method == "notifications/cancelled" and not asked.modern:
            self._calls.cancel(runner, front.name, asked.params)


async def _body(receive: Receive) -> bytes | None:
    """The request's body; None if it is too large or does not come."""
    try:
        async with asyncio.timeout(BODY_S):
            return await read_body(receive, MAX_BODY_BYTES)
    except TimeoutError:
        return None
