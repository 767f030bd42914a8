"""One ``tools/call`` at a backend, in the protocol era that the backend speaks, over kept connections.

A modern backend (2026-07-28) gets one request that stands alone, whoever asks; one of the handshake era gets it in a
session (``hub.gateway_sessions``). Ids and progress tokens are the hub's own, so those of two runners never meet.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import aiohttp

from hub.backend_http import BackendHttp, Reply
from hub.errors import BackendLostError, CallError, ProbeError
from hub.gateway_fronts import Front
from hub.gateway_messages import (
    CAPABILITIES_KEY,
    CLIENT_KEY,
    MISSING_CAPABILITY,
    VERSION_KEY,
    JsonObject,
    as_header,
    decoded,
    encoded,
)
from hub.gateway_sessions import Sessions, key_of
from hub.mcp_http import MAX_ERROR_BYTES, Budget, event_data
from hub.mcp_session import MODERN_VERSION, McpSession, wants_oauth
from hub.redaction import NOTHING, Redaction
from hub.text import clean

logger = logging.getLogger(__name__)

Progress = Callable[[JsonObject], Awaitable[None]]

STREAM_SPARE = 1024 * 1024
"""Bytes of notifications that one call may send beside its result."""

CANCEL_S = 1.0
_CLIENT_INFO = {"name": "open-persona-hub", "version": "1"}
_ACCEPTED = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


@dataclass(frozen=True)
class ToolCall:
    """What to call. ``settings`` and ``params`` are headers; ``extra`` are params beside name and arguments."""

    tool: str
    arguments: JsonObject = field(repr=False)
    runner: str
    settings: Mapping[str, str] = field(repr=False)
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    extra: JsonObject = field(default_factory=dict, repr=False)
    capabilities: JsonObject = field(default_factory=dict)
    redaction: Redaction = NOTHING
    progress: Progress | None = None


@dataclass(frozen=True)
class BackendError:
    """A JSON-RPC error of the backend's: its code, its message cleaned and shortened.

    ``data`` is there for a missing client capability alone, which it names.
    """

    code: int
    message: str
    data: JsonObject | None = None


@dataclass(frozen=True)
class _Answer:
    status: int
    message: JsonObject | None
    challenge: str = ""


class Backend:
    """Calls tools. :meth:`close` ends every session."""

    def __init__(self, http: BackendHttp, sessions: Sessions) -> None:
        self._http = http
        self._sessions = sessions
        self._ids = itertools.count(1)
        self._loose: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        await asyncio.gather(*self._loose, return_exceptions=True)
        await self._sessions.close()
        self._http.close()

    async def call(self, front: Front, call: ToolCall) -> JsonObject | BackendError:
        """The result as the backend gave it, or its JSON-RPC error. Time is the caller's business.

        Raises:
            CallError: ``unreachable``, ``backend_error``, ``bad_answer`` or ``too_large``.
        """
        title = front.title
        try:
            if front.protocol == MODERN_VERSION:
                reply = await self._modern(front, call)
            else:
                reply = await self._in_session(front, call)
        except ProbeError as error:
            raise _of_probe(error, title) from None
        except (OSError, aiohttp.ClientError, ValueError, RecursionError) as error:
            raise _of_transport(error, title) from None
        return _outcome(reply, title, call.redaction)

    async def _modern(self, front: Front, call: ToolCall) -> _Answer:
        number = next(self._ids)
        meta: dict[str, object] = {
            VERSION_KEY: MODERN_VERSION,
            CAPABILITIES_KEY: call.capabilities,
            CLIENT_KEY: _CLIENT_INFO,
        }
        headers = {"MCP-Protocol-Version": MODERN_VERSION, "Mcp-Method": "tools/call", "Mcp-Name": as_header(call.tool)}
        body = _body(number, call, meta)
        return await self._sent(front, call, number, body, {**headers, **call.params, **call.settings})

    async def _in_session(self, front: Front, call: ToolCall) -> _Answer:
        key = key_of(front.url, call.runner, call.settings)
        stale: McpSession | None = None
        while True:
            number = next(self._ids)
            async with self._sessions.use(key, call.settings, stale) as session:
                try:
                    reply = await self._sent(front, call, number, _body(number, call, {}), session.headers())
                except asyncio.CancelledError:
                    self._cancel(front.url, number, session.headers())
                    raise
            # 404, and with some servers 400, says that the session is forgotten: then nothing was done.
            forgotten = reply.status == 404 or (reply.status == 400 and reply.message is None)
            if stale is not None or not forgotten:
                return reply
            stale = session

    async def _sent(
        self, front: Front, call: ToolCall, number: int, body: bytes, headers: Mapping[str, str]
    ) -> _Answer:
        """Send it, and once more where that can't run it twice: the tool only reads, and no answer had begun."""
        try:
            return await self._post(front, call, number, body, headers)
        except BackendLostError as error:
            if not error.unanswered or front.tools.get(call.tool) != "read":
                raise
        return await self._post(front, call, number, body, headers)

    async def _post(
        self, front: Front, call: ToolCall, number: int, body: bytes, headers: Mapping[str, str]
    ) -> _Answer:
        most = 4 * front.limits.max_result_bytes + 64 * 1024
        reply = await self._http.post(front.url, body, {**_ACCEPTED, **headers})
        try:
            if reply.status >= 300:
                message = await _error_of(reply, number)
            elif reply.media_type == "text/event-stream":
                message = await _answer_in(reply, number, call, Budget(most + STREAM_SPARE))
            else:
                message = _answer(decoded(await _read(reply, Budget(most))), number)
        except BaseException:
            reply.close()
            raise
        reply.leave()
        if message is None and reply.status < 300:
            raise ProbeError("bad_protocol", "no JSON-RPC answer to the request")
        return _Answer(reply.status, message, reply.headers.get(b"www-authenticate", b"").decode("latin-1"))

    def _cancel(self, url: str, number: int, headers: Mapping[str, str]) -> None:
        """Tell the backend, aside: closing the connection cancels nothing in the handshake era."""
        task = asyncio.create_task(self._send_cancel(url, number, headers))
        self._loose.add(task)
        task.add_done_callback(self._loose.discard)

    async def _send_cancel(self, url: str, number: int, headers: Mapping[str, str]) -> None:
        params = {"requestId": number, "reason": "cancelled"}
        message = json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        try:
            async with asyncio.timeout(CANCEL_S):
                (await self._http.post(url, message.encode(), {**_ACCEPTED, **headers})).leave()
        except (OSError, ValueError) as error:
            logger.debug("a call was not cancelled at the backend: %s", type(error).__name__)


def _body(number: int, call: ToolCall, meta: dict[str, object]) -> bytes:
    if call.progress is not None:
        meta["progressToken"] = number
    params: dict[str, object] = {**call.extra, "name": call.tool, "arguments": call.arguments}
    if meta:
        params["_meta"] = meta
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).encode()


async def _read(reply: Reply, budget: Budget) -> bytes:
    body = bytearray()
    async for chunk in reply.chunks():
        budget.spend(len(chunk))
        body += chunk
    return bytes(body)


async def _answer_in(reply: Reply, number: int, call: ToolCall, budget: Budget) -> JsonObject | None:
    async for data in event_data(reply.chunks(), budget):
        message = decoded(data)
        if (found := _answer(message, number)) is not None:
            return found
        if (
            call.progress is not None
            and isinstance(message, dict)
            and message.get("method") == "notifications/progress"
        ):
            params = message.get("params")
            if isinstance(params, dict) and params.get("progressToken") == number:
                await call.progress(json.loads(call.redaction.of_json(encoded(params))))
    return None


async def _error_of(reply: Reply, number: int) -> JsonObject | None:
    try:
        message = decoded(await _read(reply, Budget(MAX_ERROR_BYTES)))
    except (ValueError, RecursionError, ProbeError):
        return None
    return _answer(message, number)


def _answer(message: object, number: int) -> JsonObject | None:
    if isinstance(message, dict) and message.get("id") == number and ("result" in message or "error" in message):
        return message
    return None


def _outcome(reply: _Answer, title: str, redaction: Redaction) -> JsonObject | BackendError:
    message = reply.message
    if reply.status in (401, 403):
        raise _not_let_in(title, oauth=wants_oauth(reply.challenge))
    if message is None:
        raise CallError("backend_error", f"{title} refused the call with HTTP status {reply.status}. Tell the user so.")
    error, result = message.get("error"), message.get("result")
    if isinstance(error, dict) and isinstance(code := error.get("code"), int) and abs(code) < 2**31:
        data = error.get("data") if code == MISSING_CAPABILITY else None
        if isinstance(data, dict):
            data = json.loads(redaction.of_json(encoded(data)))
        text = clean(redaction.of_text(str(error.get("message", ""))), 300)
        return BackendError(code, text, data if isinstance(data, dict) else None)
    if isinstance(result, dict):
        return result
    raise _bad(title)


def _of_probe(error: ProbeError, title: str) -> CallError:
    if error.reason == "too_large":
        return CallError(
            "too_large",
            f"The answer of {title} was larger than is read, so nothing of it is passed on. Ask for less: fewer items, "
            "a narrower filter or one page.",
        )
    if error.reason == "bad_protocol":
        return _bad(title)
    if error.reason == "auth":
        return _not_let_in(title, oauth=error.action != "")
    return CallError("backend_error", f"{title} did not accept a session ({error.reason}). Tell the user so.")


def _not_let_in(title: str, *, oauth: bool) -> CallError:
    if oauth:
        return CallError("backend_error", f"{title} needs OAuth, which is not supported yet. Tell the user so.")
    return CallError(
        "backend_error",
        f"{title} did not accept the credentials. Do not try again; tell the user to check the settings of the tool "
        f"“Open Persona: {title}”.",
    )


def _of_transport(error: Exception, title: str) -> CallError:
    # A refused certificate is both an OSError and a ValueError.
    garbled = isinstance(error, ValueError | RecursionError | aiohttp.ClientPayloadError | aiohttp.ClientResponseError)
    if garbled and not isinstance(error, OSError):
        return _bad(title)
    return CallError(
        "unreachable", f"{title} could not be reached, or broke off. Try once more, then tell the user that it is down."
    )


def _bad(title: str) -> CallError:
    return CallError("bad_answer", f"{title} answered with something that is no MCP answer. Tell the user so.")
