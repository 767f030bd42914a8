"""The HTTP API of one ``opencode serve`` (1.18.33), as far as a turn needs it.

Every call has a deadline. What fails is a ``RunnerError`` with reason ``runner_lost``, whose detail names the call.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import aiohttp
from pydantic import SecretStr

from sidecar.errors import RunnerError
from sidecar.opencode_config import Rule

CALL_TIMEOUT_S = 15.0
CONNECT_TIMEOUT_S = 3.0
MAX_EVENT_BYTES = 16 * 2**20
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

Json = Mapping[str, object]


@dataclass(frozen=True)
class Message:
    """One message of a session. ``parts`` are opencode's own objects."""

    id: str
    role: str
    info: Json
    parts: tuple[Json, ...]


def new_message_id(now: float | None = None) -> str:
    """An id that opencode sorts after every earlier one: 48 bits of time and counter in hex, then 14 random letters."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    stamp = (milliseconds * 0x1000 + 1) & 0xFFFFFFFFFFFF
    return f"msg_{stamp:012x}" + "".join(secrets.choice(_ALPHABET) for _ in range(14))


class OpencodeClient:
    """``url`` without a trailing slash; ``http`` is shared and stays the caller's."""

    def __init__(self, url: str, password: SecretStr, http: aiohttp.ClientSession) -> None:
        self.url = url
        login = aiohttp.encode_basic_auth("opencode", password.get_secret_value())
        self._headers = {"Authorization": login}
        self._http = http

    async def _call(
        self,
        method: str,
        path: str,
        body: object | None = None,
        *,
        timeout_s: float = CALL_TIMEOUT_S,
        missing_ok: bool = False,
    ) -> object:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._http.request(
                method, self.url + path, json=body, headers=self._headers, timeout=timeout
            ) as response:
                if response.status == 404 and missing_ok:
                    return None
                if response.status >= 400:
                    raise _lost(f"{method} {path}: HTTP {response.status}")
                return None if response.status == 204 else await response.json(content_type=None)
        except TimeoutError:
            raise _lost(f"{method} {path}: no answer in {timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _lost(f"{method} {path}: {type(error).__name__}") from None

    async def version(self, *, timeout_s: float = 0.5) -> str:
        """opencode's version, when it answers.

        ``timeout_s`` is short because a request in opencode's start-up race is never answered.
        """
        health = await self._call("GET", "/global/health", timeout_s=timeout_s)
        return str(health["version"]) if isinstance(health, dict) else ""

    async def check_config(self) -> None:
        """A config that opencode refuses still leaves its health at 200; every other call then fails."""
        await self._call("GET", "/config")

    async def create_session(self, title: str, rules: Sequence[Rule]) -> str:
        return _id(await self._call("POST", "/session", {"title": title, "permission": list(rules)}))

    async def session_rules(self, session: str) -> list[Rule] | None:
        """The rules that the session holds; None when there is no such session."""
        found = await self._call("GET", f"/session/{session}", missing_ok=True)
        return list(found.get("permission") or []) if isinstance(found, dict) else None

    async def add_rules(self, session: str, rules: Sequence[Rule]) -> None:
        await self._call("PATCH", f"/session/{session}", {"permission": list(rules)})

    async def fork(self, session: str, before_message: str) -> str:
        """A new session with everything before ``before_message``; it has no rules and new message ids."""
        return _id(await self._call("POST", f"/session/{session}/fork", {"messageID": before_message}))

    async def delete_session(self, session: str) -> None:
        await self._call("DELETE", f"/session/{session}", missing_ok=True)

    async def messages(self, session: str) -> list[Message] | None:
        """Oldest first; None when there is no such session."""
        found = await self._call("GET", f"/session/{session}/message", missing_ok=True)
        if not isinstance(found, list):
            return None
        return [Message(m["info"]["id"], m["info"]["role"], m["info"], tuple(m["parts"])) for m in found]

    async def prompt(self, session: str, body: Json) -> None:
        """Queues one user message; what follows comes as events."""
        await self._call("POST", f"/session/{session}/prompt_async", body)

    async def abort(self, session: str) -> None:
        await self._call("POST", f"/session/{session}/abort", missing_ok=True)

    async def sessions(self) -> list[str]:
        """The ids of all sessions that it holds."""
        found = await self._call("GET", "/session")
        return [str(one["id"]) for one in found] if isinstance(found, list) else []

    async def busy_sessions(self) -> list[str]:
        """The ids of the sessions that run now, or wait to ask the provider again."""
        found = await self._call("GET", "/session/status")
        return [str(one) for one in found] if isinstance(found, dict) else []

    async def server_states(self) -> dict[str, str]:
        """MCP server name to ``connected``, ``disabled``, ``failed``, …"""
        found = await self._call("GET", "/mcp")
        return {name: str(state["status"]) for name, state in found.items()} if isinstance(found, dict) else {}

    async def connect_server(self, name: str) -> None:
        """Answers 200 even when the connection failed: look at ``server_states``."""
        await self._call("POST", f"/mcp/{name}/connect", timeout_s=CONNECT_TIMEOUT_S)

    async def disconnect_server(self, name: str) -> None:
        await self._call("POST", f"/mcp/{name}/disconnect", missing_ok=True)

    async def add_server(self, name: str, config: Json) -> None:
        """Adds and connects a server that the loaded config does not list; it is gone after a dispose."""
        await self._call("POST", "/mcp", {"name": name, "config": config}, timeout_s=CONNECT_TIMEOUT_S)

    async def dispose(self) -> None:
        """Drops the instance: the next use reads the config file again. A running turn would be cut."""
        await self._call("POST", "/instance/dispose")

    async def events(self) -> AsyncIterator[Json]:
        """All events of all sessions from now on, until the connection ends; ``RunnerError`` if it cannot open."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
        try:
            async with self._http.get(
                f"{self.url}/global/event", headers=self._headers, timeout=timeout, read_bufsize=2**20
            ) as response:
                if response.status != 200:
                    raise _lost(f"GET /global/event: HTTP {response.status}")
                async for event in _server_sent(response.content):
                    yield event
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _lost(f"GET /global/event: {type(error).__name__}") from None


async def _server_sent(stream: aiohttp.StreamReader) -> AsyncIterator[Json]:
    """Parses ``data:`` lines by hand: a line may be longer than aiohttp's own limit for ``readline``."""
    pending = b""
    async for block in stream.iter_any():
        pending += block
        *lines, pending = pending.split(b"\n")
        if len(pending) > MAX_EVENT_BYTES:
            raise _lost("an event of the runner was too long")
        for line in lines:
            if line.startswith(b"data:"):
                payload = _payload(line[5:])
                if payload.get("type") != "sync":
                    yield payload
        await asyncio.sleep(0)


def _payload(data: bytes) -> Json:
    """The event itself, out of what says which instance sent it; empty for what is no event."""
    try:
        event = json.loads(data)
    except ValueError:
        return {}
    payload = event.get("payload", event) if isinstance(event, dict) else {}
    return payload if isinstance(payload, dict) else {}


def _id(answer: object) -> str:
    if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
        raise _lost("a session was answered without an id")
    return str(answer["id"])


def _lost(detail: str) -> RunnerError:
    return RunnerError(
        "The agent engine stopped answering. Send the message again; it starts afresh.",
        reason="runner_lost",
        detail=detail,
    )
