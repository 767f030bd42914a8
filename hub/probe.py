"""One health check: TCP → /healthz → raw POST → handshake → tools/list, one deadline over all.

Both protocol eras: the modern one (2026-07-28: every request stands alone, ``server/discover``), else the handshake
one (``initialize``, a session that is deleted afterwards). The SDK's client is not used: it reports 401, 404 and 421
as the same error. Whatever a server does ends as a result with a reason; nothing is raised but cancellation.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlsplit

import aiohttp

from hub.actions import action_for
from hub.addresses import check_literal, connectable
from hub.backend_headers import operator_secrets, probe_headers
from hub.errors import ForbiddenAddressError, ProbeError
from hub.manifest import HttpTransport, Manifest
from hub.mcp_http import Answer, Budget
from hub.mcp_session import McpSession, of_status
from hub.redaction import NOTHING, Redaction
from hub.text import clean
from hub.tools import Tool, compare, mismatch
from hub.wire import ProbeResult, Reason

logger = logging.getLogger(__name__)

MAX_BYTES = 2 * 1024 * 1024
"""All answers of one check together; 240 tools are about 150 kB."""

MAX_HEALTHZ_BYTES = 4096
GOODBYE_S = 1.0
"""Time to delete a session of the handshake era, after the deadline if need be."""

Stage = Literal["tcp", "healthz", "post", "handshake", "tools", "done"]
Now = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Target:
    """Where to ask. ``healthz`` is None for a server that somebody else runs."""

    manifest: Manifest
    url: str
    healthz: str | None


@dataclass(frozen=True)
class Observation:
    """What one check saw: the result as it is stored, and the tools with their definitions."""

    result: ProbeResult
    tools: tuple[Tool, ...] = ()


def target_of(manifest: Manifest, mcp_host: str) -> Target:
    """The addresses of an integration; a server of the launcher's listens on ``mcp_host``."""
    if isinstance(manifest.transport, HttpTransport):
        return Target(manifest, str(manifest.transport.url), None)
    host = f"[{mcp_host}]" if ":" in mcp_host else mcp_host
    base = f"http://{host}:{manifest.transport.port}"
    return Target(manifest, f"{base}/mcp", f"{base}/healthz")


class Prober:
    """Runs health checks over one shared HTTP client, which stays the caller's to close."""

    def __init__(self, client: aiohttp.ClientSession, now: Now = utc_now) -> None:
        self._client = client
        self._now = now

    async def probe(self, target: Target) -> Observation:
        """Check one integration within ``probe.timeout_s`` (plus :data:`GOODBYE_S` for an open session)."""
        walk = _Walk(self._client, target)
        at, started = self._now(), time.perf_counter()
        failure: ProbeError | None = None
        try:
            async with asyncio.timeout(target.manifest.probe.timeout_s):
                await walk.run()
        except TimeoutError:
            failure = walk.timed_out()
        except ProbeError as error:
            failure = error
        except (OSError, aiohttp.ClientError, ValueError) as error:
            failure = _of_transport(error)
        except Exception:
            logger.exception("the check of %s failed inside the hub", target.manifest.name)
            failure = ProbeError("internal", "the check failed inside the hub")
        finally:
            latency_ms = (time.perf_counter() - started) * 1000
            await walk.goodbye()
        return walk.observation(at, round(latency_ms, 2), failure)


class _Walk:
    """One pass through the stages; ``stage`` is the last one reached."""

    def __init__(self, client: aiohttp.ClientSession, target: Target) -> None:
        self.stage: Stage = "tcp"
        self._client = client
        self._target = target
        headers = probe_headers(target.manifest, os.environ)
        secrets = operator_secrets(target.manifest, os.environ)
        self._redaction = Redaction(secrets) if secrets else NOTHING
        self._session = McpSession(client, target.url, Budget(MAX_BYTES), headers, self._redaction)
        self._tools: tuple[Tool, ...] = ()

    async def run(self) -> None:
        await self._connect()
        if self._target.healthz:
            self.stage = "healthz"
            await self._healthz(self._target.healthz)
        self.stage = "post"
        modern = await self._session.discover()
        self.stage = "handshake"
        if not modern:
            await self._session.initialize()
        self.stage = "tools"
        self._tools = await self._session.list_tools()
        self.stage = "done"

    async def goodbye(self) -> None:
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self._session.close()
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            logger.debug("the session of %s was not deleted: %r", self._target.manifest.name, error)

    def timed_out(self) -> ProbeError:
        waiting = {
            "tcp": "a connection",
            "healthz": "the answer to GET /healthz",
            "post": "the answer to server/discover",
            "handshake": "the answer to initialize",
            "tools": "the answer to tools/list",
        }.get(self.stage, "the server")
        return ProbeError("timeout", f"{waiting} did not come within {self._target.manifest.probe.timeout_s:g} s")

    def observation(self, at: datetime, latency_ms: float, failure: ProbeError | None) -> Observation:
        manifest = self._target.manifest
        reason = failure.reason if failure else None
        detail = self._redaction.of_text(failure.detail) if failure else mismatch(compare(manifest, self._tools))
        if detail and reason is None:
            reason = "tools_mismatch"
        result = ProbeResult(
            name=manifest.name,
            at=at,
            ok=failure is None,
            reason=reason,
            detail=detail,
            action=_action(failure, reason, manifest),
            stage=self.stage,
            latency_ms=latency_ms,
            protocol=self._session.protocol if failure is None else "",
            tools={} if failure else {tool.name: tool.fingerprint for tool in self._tools},
        )
        return Observation(result, () if failure else self._tools)

    async def _connect(self) -> None:
        parts = urlsplit(self._target.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            check_literal(self._target.manifest)
            _, writer = await _connection(parts.hostname or "", port)
        except (socket.gaierror, TimeoutError):
            raise
        except ForbiddenAddressError as error:
            raise ProbeError("address_refused", clean(str(error), 160)) from None
        except ConnectionRefusedError:
            raise ProbeError("refused", f"nothing listens on {parts.hostname}:{port}") from None
        except OSError as error:
            raise ProbeError(
                "refused", f"no connection to {parts.hostname}:{port}: {error.strerror or error}"
            ) from None
        writer.close()

    async def _healthz(self, url: str) -> None:
        """A server without the route is let through (404, 405): the MCP stages decide. One that says another name is
        not: it would be sent what users entered for this one.
        """
        async with self._client.get(url, allow_redirects=False) as response:
            if response.status not in (200, 404, 405):
                raise of_status(Answer(response.status, "", None), "GET /healthz")
            said = _name_in(await response.content.read(MAX_HEALTHZ_BYTES)) if response.status == 200 else None
        if said is not None and said != self._target.manifest.name:
            raise ProbeError("bad_protocol", f"the server of {clean(said, 40)!r} answers on this port")


def _name_in(body: bytes) -> str | None:
    """The name that a server of ours gives itself."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    name = said.get("name") if isinstance(said, dict) else None
    return name if isinstance(name, str) else None


def _action(failure: ProbeError | None, reason: Reason | None, manifest: Manifest) -> str:
    if failure is not None and failure.action:
        return failure.action.format(name=manifest.name)
    return action_for(reason, manifest) if reason else ""


async def _connection(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first allowed address that takes it."""
    addresses = await connectable(host, port)
    for address in addresses[:-1]:
        with contextlib.suppress(OSError):
            return await asyncio.open_connection(address, port)
    return await asyncio.open_connection(addresses[-1], port)


def _of_transport(error: Exception) -> ProbeError:
    if isinstance(error, socket.gaierror | aiohttp.ClientConnectorDNSError):
        return ProbeError("name_unresolved", "the host name could not be resolved")
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError):
        return ProbeError("http_error", "the server closed the connection without an answer")
    if isinstance(error, OSError):
        return ProbeError("refused", clean(f"the connection failed: {error.strerror or type(error).__name__}", 120))
    return ProbeError("bad_protocol", clean(f"not a usable HTTP answer: {type(error).__name__}", 120))
