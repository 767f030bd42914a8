"""``tools/call``: may this runner, is it there, is it too often; then relayed, bounded, audited, and ended in time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from hub.audit import NOBODY, Audit, Caller
from hub.backend_headers import call_headers, operator_secrets
from hub.errors import CallError, RpcError
from hub.gateway_backend import Backend, BackendError, ToolCall
from hub.gateway_fronts import Front
from hub.gateway_messages import (
    CAPABILITIES_KEY,
    INVALID_PARAMS,
    Asked,
    JsonObject,
    RawHeaders,
    error_body,
    result_body,
    status_of,
)
from hub.gateway_params import check_sent, headers_for
from hub.gateway_reply import PING_S, Receive, Reply
from hub.gateway_results import error_result, shaped
from hub.leases import HeldLease
from hub.outcomes import Outcome
from hub.rates import Rates
from hub.redaction import NOTHING, Redaction

logger = logging.getLogger(__name__)

UNKNOWN_TOOL = "Unknown tool"

_ENDED: dict[Outcome, str] = {
    "cancelled": "The call was cancelled.",
    "lease_ended": "The turn that made this call has ended, and the call with it.",
    "stopped": "The hub is being restarted. Try once more.",
    "unavailable": "The integration was removed, and the call ended with it. Do not try again; tell the user so.",
}

WATCH_AFTER_S = 0.05

DRAIN_S = 5.0
"""How long calls in flight may go on after their integration was removed; its server gets as long from the launcher."""

CallKey = tuple[str, str, str | int, bool]


class RunningCall:
    """One relayed call; its lease, its runner, its integration's or the hub's end can end it before its time."""

    def __init__(self, lease: HeldLease, integration: str, tool: str, scope: asyncio.Timeout) -> None:
        self.lease = lease
        self.integration = integration
        self.tool = tool
        self.ended: Outcome = "timeout"
        self._scope = scope

    def end(self, why: Outcome = "lease_ended") -> None:
        if self.ended == "timeout" and not self._scope.expired():
            self.ended = why
            with contextlib.suppress(RuntimeError):  # it is ending anyway
                self._scope.reschedule(0)


class Calls:
    """All calls of all runners."""

    def __init__(self, backend: Backend, rates: Rates, audit: Audit) -> None:
        self._backend = backend
        self._rates = rates
        self._audit = audit
        self._running: dict[CallKey, RunningCall] = {}
        self._all: set[RunningCall] = set()

    def end_all(self) -> None:
        """End what runs, because the hub stops."""
        for call in list(self._all):
            call.end("stopped")

    def end_of(self, integration: str) -> None:
        """Of an integration that has gone, end what still runs after :data:`DRAIN_S`."""
        for call in [call for call in self._all if call.integration == integration]:
            asyncio.get_running_loop().call_later(DRAIN_S, call.end, "unavailable")

    def cancel(self, runner: str, integration: str, params: JsonObject) -> None:
        """The runner's own ``notifications/cancelled``, for a call of its own."""
        wanted = params.get("requestId")
        if isinstance(wanted, str | int) and (call := self._running.get(_key(runner, integration, wanted))):
            call.end("cancelled")

    async def answer(
        self, asked: Asked, front: Front, leases: Sequence[HeldLease], raw: RawHeaders, reply: Reply, receive: Receive
    ) -> None:
        """Answer one ``tools/call``; ``leases`` are the runner's live ones, the newest first. Leaves one audit line."""
        started = time.perf_counter()
        tool = asked.params.get("name")
        name = tool if isinstance(tool, str) else ""
        lease = next((held for held in leases if held.allows(front.name, name)), None)
        caller = Caller(lease.user, lease.persona) if lease else _caller_of(leases)
        outcome: Outcome = "cancelled"  # as it stays if this task is cancelled
        try:
            outcome, status, body = await self._outcome(asked, front, lease, name, raw, reply, receive)
            await reply.finish(status, body)
        finally:
            self._audit.call(caller, front.name, name, outcome, (time.perf_counter() - started) * 1000)

    async def _outcome(
        self,
        asked: Asked,
        front: Front,
        lease: HeldLease | None,
        tool: str,
        raw: RawHeaders,
        reply: Reply,
        receive: Receive,
    ) -> tuple[Outcome, int, bytes]:
        """The outcome, and the answer as HTTP status and body."""
        try:
            if lease is None:
                known = tool in front.tools
                return _rpc("tool_not_granted" if known else "unknown_tool", asked, INVALID_PARAMS, UNKNOWN_TOOL)
            if front.unavailable:
                raise CallError("unavailable", front.unavailable)
            if tool not in front.tools:
                return _rpc("unknown_tool", asked, INVALID_PARAMS, UNKNOWN_TOOL)
            call = _tool_call(asked, front, lease, tool, raw, reply)
            self._take(lease, front)
            return await self._relayed(asked, front, lease, call, reply, receive)
        except RpcError as error:
            return _rpc("bad_arguments", asked, error.code, error.message)
        except CallError as error:
            return error.outcome, 200, result_body(asked.id, error_result(error.text, modern=asked.modern))
        except Exception:
            logger.exception("a call of %s failed inside the hub", front.name)
            text = "The call failed inside the hub; its log says why. Tell the user so."
            return "internal", 200, result_body(asked.id, error_result(text, modern=asked.modern))

    def _take(self, lease: HeldLease, front: Front) -> None:
        wait_s = self._rates.take(lease.user, front.name, front.limits.calls_per_minute)
        if wait_s:
            raise CallError(
                "rate_limited",
                f"{front.title} takes {front.limits.calls_per_minute} calls a minute from one user. "
                f"Try again in {math.ceil(wait_s)} s.",
            )

    async def _relayed(
        self, asked: Asked, front: Front, lease: HeldLease, call: ToolCall, reply: Reply, receive: Receive
    ) -> tuple[Outcome, int, bytes]:
        limits, running = front.limits, None
        try:
            async with asyncio.timeout(limits.timeout_s) as scope:
                running = RunningCall(lease, front.name, call.tool, scope)
                with self._registered(running, _key(lease.runner, front.name, asked.id)):
                    watch = _Watch(running, reply, receive)
                    try:
                        answer = await self._backend.call(front, call)
                    finally:
                        await watch.close()
        except TimeoutError:
            ended: Outcome = running.ended if running else "timeout"
            late = f"{front.title} did not answer within {limits.timeout_s:g} s. Tell the user, or ask for less."
            raise CallError(ended, _ENDED.get(ended, late)) from None
        if isinstance(answer, BackendError):
            return _rpc("rpc_error", asked, answer.code, answer.message, answer.data)
        result = shaped(
            answer, front.title, limit=limits.max_result_bytes, modern=asked.modern, redaction=call.redaction
        )
        return result.outcome, 200, result_body(asked.id, result.body)

    @contextmanager
    def _registered(self, call: RunningCall, key: CallKey) -> Iterator[None]:
        self._running[key] = call
        self._all.add(call)
        call.lease.calls.add(call)
        try:
            yield
        finally:
            call.lease.calls.discard(call)
            self._all.discard(call)
            if self._running.get(key) is call:
                del self._running[key]


class _Watch:
    """Notices that the client has gone and keeps a silent answer alive, from a moment after the call's start.

    Most calls have ended by then, and a task for each would cost a tenth of the gateway's time.
    """

    def __init__(self, call: RunningCall, reply: Reply, receive: Receive) -> None:
        self._call = call
        self._reply = reply
        self._receive = receive
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._start)

    async def close(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def _start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(PING_S):
                    message = await self._receive()
            except TimeoutError:
                await self._reply.ping()
                continue
            if message["type"] == "http.disconnect":
                self._call.end("cancelled")
                return


def _tool_call(asked: Asked, front: Front, lease: HeldLease, tool: str, raw: RawHeaders, reply: Reply) -> ToolCall:
    arguments = asked.params.get("arguments")
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise RpcError(INVALID_PARAMS, "arguments must be an object")
    declared = front.params.get(tool, ())
    params = headers_for(declared, arguments)
    if asked.modern:
        check_sent(declared, params, raw)
    entered = lease.grants[front.name].settings
    settings = call_headers(front.manifest, entered, os.environ) if front.manifest else {}
    token = asked.progress_token
    wants = token is not None and reply.events
    return ToolCall(
        tool=tool,
        arguments=arguments,
        runner=lease.runner,
        settings=settings,
        params=params,
        redaction=_redaction(front, lease),
        extra={key: asked.params[key] for key in ("inputResponses", "requestState") if key in asked.params}
        if asked.modern
        else {},
        capabilities=_capabilities(asked),
        progress=partial(reply.progress, token) if wants and token is not None else None,
    )


def _redaction(front: Front, lease: HeldLease) -> Redaction:
    """The user's secrets, and the operator's, which may have been sent with theirs or in their stead."""
    if not front.secret_settings:
        return NOTHING
    held = lease.grants[front.name].settings
    entered = [held[key].get_secret_value() for key in held.keys() & front.secret_settings]
    return Redaction((*entered, *(operator_secrets(front.manifest, os.environ) if front.manifest else ())))


def _capabilities(asked: Asked) -> JsonObject:
    given = asked.meta.get(CAPABILITIES_KEY)
    return given if asked.modern and isinstance(given, dict) else {}


def _caller_of(leases: Sequence[HeldLease]) -> Caller:
    return Caller(leases[0].user, leases[0].persona) if leases else NOBODY


def _rpc(
    outcome: Outcome, asked: Asked, code: int, message: str, data: JsonObject | None = None
) -> tuple[Outcome, int, bytes]:
    return outcome, status_of(code, modern=asked.modern), error_body(asked.id, code, message, data)


def _key(runner: str, integration: str, request_id: str | int | None) -> CallKey:
    """By type too: ``1`` and ``"1"`` are two ids."""
    return runner, integration, request_id if request_id is not None else "", isinstance(request_id, str)
