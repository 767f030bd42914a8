"""JSON-RPC with a stdio MCP server: one JSON object a line, many requests at a time, progress and cancellation.

Message shapes: MCP specification 2025-11-25, ``basic/transports`` and ``basic/utilities``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

JsonObject = Mapping[str, object]
Progress = Callable[[JsonObject], Awaitable[None]]

MAX_LINE = 16 * 1024 * 1024
"""Bytes of one message; a longer one ends the conversation."""

MAX_WAITING = 256
"""Progress of one request that waits to be passed on; what comes beyond is dropped."""

MAX_UNREAD = 4 * 1024 * 1024
"""Bytes of our answers to the server's own requests that may wait for it to read them; more end the conversation."""

METHOD_NOT_FOUND = -32601


class ConversationOver(Exception):
    """The server's output has ended; ``problem`` says why, where that is known."""

    def __init__(self, problem: str = "") -> None:
        super().__init__(problem or "the server's output has ended")
        self.problem = problem


class Refused(Exception):
    """The server answered a request with a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.data = data


class _Unread(Exception):
    """The server asks and asks, and reads no answer."""


@dataclass(frozen=True)
class _Answer:
    message: JsonObject


@dataclass(frozen=True)
class _Step:
    params: JsonObject


@dataclass
class _Waiting:
    inbox: asyncio.Queue[_Answer | _Step | None] = field(default_factory=asyncio.Queue)


class Conversation:
    """Requests to one server. :meth:`run` reads its answers and returns when there are no more.

    ``noise`` gets each line of output that is no message.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, noise: Callable[[str], None]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._noise = noise
        self._ids = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._over = False
        self._problem = ""

    async def run(self) -> None:
        try:
            while line := await self._reader.readline():
                self._take(line)
        except ValueError:
            self._problem = f"it wrote a message of more than {MAX_LINE // 1024 // 1024} MiB"
        except _Unread:
            self._problem = "it asked more and more, and read no answer"
        except ConnectionError:
            pass
        finally:
            self._over = True
            for waiting in self._waiting.values():
                waiting.inbox.put_nowait(None)

    async def request(self, method: str, params: JsonObject, progress: Progress | None = None) -> JsonObject:
        """The result. When this is cancelled, the server is told so. Time is the caller's business.

        Raises:
            Refused: the server's own error.
            ConversationOver: its output ended first.
        """
        number, waiting = next(self._ids), _Waiting()
        if self._over:
            raise ConversationOver(self._problem)
        self._waiting[number] = waiting
        try:
            await self._send({"id": number, "method": method, "params": _with_token(params, number, progress)})
            while (item := await waiting.inbox.get()) is not None:
                if isinstance(item, _Answer):
                    return _result(item.message)
                if progress is not None:
                    await progress(item.params)
            raise ConversationOver(self._problem)
        except asyncio.CancelledError:
            if method != "initialize" and not self._over:  # which must not be cancelled
                self._write({"method": "notifications/cancelled", "params": {"requestId": number}})
            raise
        finally:
            del self._waiting[number]

    async def notify(self, method: str) -> None:
        await self._send({"method": method})

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            self._noise(line.decode(errors="replace").rstrip())
        elif "method" in message:
            self._asked(message)
        elif (waiting := self._waiting.get(_number(message.get("id")))) is not None:
            waiting.inbox.put_nowait(_Answer(message))

    def _asked(self, message: JsonObject) -> None:
        """The server's own requests and notifications. It may ask whether we are there, and for nothing else."""
        params = message.get("params")
        if message["method"] == "notifications/progress" and isinstance(params, dict):
            waiting = self._waiting.get(_number(params.get("progressToken")))
            if waiting is not None and waiting.inbox.qsize() < MAX_WAITING:
                waiting.inbox.put_nowait(_Step(params))
        elif message.get("id") is not None:
            if self._writer.transport.get_write_buffer_size() > MAX_UNREAD:
                raise _Unread
            error = {"code": METHOD_NOT_FOUND, "message": "Method not found"}
            answer = {"result": {}} if message["method"] == "ping" else {"error": error}
            self._write({"id": message["id"], **answer})

    async def _send(self, message: JsonObject) -> None:
        self._write(message)
        try:
            await self._writer.drain()
        except ConnectionError:
            raise ConversationOver(self._problem) from None

    def _write(self, message: JsonObject) -> None:
        if not self._writer.is_closing():
            self._writer.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def _with_token(params: JsonObject, number: int, progress: Progress | None) -> JsonObject:
    if progress is None:
        return params
    meta = params.get("_meta")
    return {**params, "_meta": {**(meta if isinstance(meta, dict) else {}), "progressToken": number}}


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _result(message: JsonObject) -> JsonObject:
    result, error = message.get("result"), message.get("error")
    if isinstance(result, dict):
        return result
    if isinstance(error, dict) and isinstance(code := error.get("code"), int):
        raise Refused(code, str(error.get("message", "")), error.get("data"))
    raise Refused(-32603, "the answer has neither a result nor an error")
