"""One health check against real servers of both eras, and against ones that misbehave."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_MODERN_VERSION
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hub.mcp_session import HANDSHAKE_VERSIONS, MODERN_VERSION
from hub.probe import Prober, target_of
from hub.wire import ProbeResult
from tests.fakes.asgi_server import serve_app
from tests.hub.servers import (
    HandshakeServer,
    KeptEvents,
    answering,
    free_address,
    good_app,
    listing,
    manifest_at,
    rpc_app,
    silent_server,
    talking_server,
    tool,
)

QUICK = {"probe": {"timeout_s": 0.4}}


async def check(prober: Prober, url: str, **fields: Any) -> ProbeResult:
    return (await prober.probe(target_of(manifest_at(url, **fields), "127.0.0.1"))).result


def test_the_versions_are_those_of_the_sdk() -> None:
    assert MODERN_VERSION == LATEST_MODERN_VERSION
    assert HANDSHAKE_VERSIONS == HANDSHAKE_PROTOCOL_VERSIONS


@pytest.mark.requirement("hub:probe-both-eras")
async def test_a_real_server_of_the_modern_era_is_healthy(prober: Prober) -> None:
    async with serve_app(good_app()) as url:
        result = await check(prober, url, python=True)
    assert (result.ok, result.reason, result.stage, result.protocol) == (True, None, "done", "2026-07-28")
    assert [len(print_) for print_ in result.tools.values()] == [64]
    assert 0 < result.latency_ms < 5000


@pytest.mark.requirement("hub:probe-both-eras")
async def test_a_server_of_the_handshake_era_is_healthy_and_keeps_no_session(prober: Prober) -> None:
    server = HandshakeServer()
    async with serve_app(server.app) as url:
        results = [await check(prober, url) for _ in range(3)]
    assert [(result.ok, result.protocol) for result in results] == [(True, "2025-06-18")] * 3
    assert (server.opened, server.open) == (3, set())


@pytest.mark.parametrize("events", [None, KeptEvents()])
async def test_the_sdks_own_handshake_leg_is_understood(
    client: aiohttp.ClientSession, prober: Prober, events: KeptEvents | None
) -> None:
    """The SDK's server with sessions, its modern leg hidden behind a 400 as an older release would answer."""
    inner = good_app(stateless=False, events=events)

    async def older(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", []))
        if scope["type"] == "http" and headers.get(b"mcp-protocol-version") == b"2026-07-28":
            await Response("Bad Request", 400)(scope, receive, send)
        else:
            await inner(scope, receive, send)

    async with serve_app(older) as url:
        result = await check(prober, url, python=True)
    assert (result.ok, result.protocol) == (True, "2025-11-25")


@pytest.mark.requirement("hub:tools-mismatch")
async def test_a_server_that_lists_other_tools_answers_but_is_named(prober: Prober) -> None:
    async with serve_app(good_app(tools=("echo", "surprise"))) as url:
        result = await check(prober, url)
    assert (result.ok, result.reason) == (True, "tools_mismatch")
    assert "surprise" in result.detail
    assert "demo/manifest.yaml" in result.action


async def test_nothing_listening_is_refused(prober: Prober) -> None:
    result = await check(prober, await free_address(), python=True)
    assert (result.ok, result.reason, result.stage) == (False, "refused", "tcp")
    assert "mcp_servers" in result.action


async def test_an_unknown_host_name_is_named(prober: Prober) -> None:
    result = await check(prober, "http://no-such-host.invalid:7001")
    assert (result.reason, result.stage) == ("name_unresolved", "tcp")


@pytest.mark.requirement("hub:probe-deadline")
@pytest.mark.parametrize(("python", "stage"), [(True, "healthz"), (False, "post")])
async def test_a_server_that_never_answers_ends_at_the_one_deadline(prober: Prober, python: bool, stage: str) -> None:
    async with silent_server() as url:
        started = time.monotonic()
        result = await check(prober, url, python=python, **QUICK)
        assert time.monotonic() - started < 1.4
    assert (result.reason, result.stage) == ("timeout", stage)


@pytest.mark.requirement("hub:probe-reasons")
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "auth"),
        (403, "auth"),
        (404, "not_found"),
        (421, "host_rejected"),
        (500, "http_error"),
        (503, "http_error"),
        (307, "http_error"),
        (400, "http_error"),
    ],
)
async def test_each_status_has_its_reason(prober: Prober, status: int, reason: str) -> None:
    async with serve_app(rpc_app(answering(status))) as url:
        result = await check(prober, url)
    assert (result.ok, result.reason) == (False, reason)
    assert str(status) in result.detail
    assert result.action


async def test_the_sdks_own_host_check_is_told_apart_though_healthz_is_green(prober: Prober) -> None:
    async with serve_app(good_app(hosts=["elsewhere:*"])) as url:
        result = await check(prober, url, python=True)
    assert (result.reason, result.stage) == ("host_rejected", "post")


async def test_a_health_route_that_says_no_counts(prober: Prober) -> None:
    async with serve_app(rpc_app(listing([{"tools": [tool("echo")]}]), answering(503))) as url:
        result = await check(prober, url, python=True)
    assert (result.reason, result.stage) == ("http_error", "healthz")


@pytest.mark.requirement("hub:probe-reasons")
@pytest.mark.parametrize(
    ("said", "reason"),
    [(b'{"name": "other"}', "bad_protocol"), (b'{"name": "demo"}', None), (b'{"name": 1}', None), (b"ok", None)],
)
async def test_another_integrations_server_on_the_port_is_not_taken_for_this_one(
    prober: Prober, said: bytes, reason: str | None
) -> None:
    app = rpc_app(listing([{"tools": [tool("echo")]}]), answering(200, said, "application/json"))
    async with serve_app(app) as url:
        result = await check(prober, url, python=True)
    assert (result.reason, result.stage) == (reason, "healthz" if reason else "done")
    assert reason is None or result.detail == "the server of 'other' answers on this port"


async def test_a_redirect_is_not_followed(prober: Prober) -> None:
    async with serve_app(good_app()) as target:

        async def away(_: Request) -> Response:
            return Response(status_code=307, headers={"location": f"{target}/mcp"})

        async with serve_app(rpc_app(away)) as url:
            result = await check(prober, url)
    assert (result.reason, "redirect" in result.detail) == ("http_error", True)


@pytest.mark.parametrize("as_events", [False, True])
async def test_pages_and_both_body_forms_are_read(prober: Prober, as_events: bool) -> None:
    pages: list[dict[str, Any]] = [{"tools": [tool("echo")], "nextCursor": "1"}, {"tools": [tool("two")]}]
    async with serve_app(rpc_app(listing(pages, as_events))) as url:
        result = await check(prober, url, tools={"echo": "read", "two": "write"})
    assert (result.ok, result.reason, sorted(result.tools)) == (True, None, ["echo", "two"])


def modern(body: list[Any]) -> Callable[[], AbstractAsyncContextManager[str]]:
    return lambda: serve_app(rpc_app(listing(body)))


def raw(body: bytes, media_type: str = "application/json") -> Callable[[], AbstractAsyncContextManager[str]]:
    return lambda: serve_app(rpc_app(answering(200, body, media_type)))


@asynccontextmanager
async def endless_cursor() -> AsyncIterator[str]:
    async with serve_app(rpc_app(listing([{"tools": [], "nextCursor": "0"}]))) as url:
        yield url


@asynccontextmanager
async def unknown_version() -> AsyncIterator[str]:
    async def handle(request: Request) -> Response:
        error = {"code": -32022, "message": "no", "data": {"supported": ["2031-01-01"]}}
        return JSONResponse({"jsonrpc": "2.0", "id": (await request.json())["id"], "error": error}, 400)

    async with serve_app(rpc_app(handle)) as url:
        yield url


BIG = b'{"jsonrpc": "2.0", "id": 1, "result": {"x": "' + b"x" * 10_000_000 + b'"}}'


@pytest.mark.requirement("hub:probe-misbehaviour")
@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (raw(b"{nope"), "bad_protocol"),
        (raw(b"<html>hello</html>", "text/html"), "bad_protocol"),
        (raw(b"[" * 100_000), "bad_protocol"),
        (raw(b'{"jsonrpc": "2.0", "id": 999, "result": {}}'), "bad_protocol"),
        (raw(b""), "bad_protocol"),
        (raw(b"data: {nope\n\n", "text/event-stream"), "bad_protocol"),
        (raw(b": nothing\n\n", "text/event-stream"), "bad_protocol"),
        (raw(BIG), "too_large"),
        (raw(b"data: " + BIG, "text/event-stream"), "too_large"),
        (modern([{"tools": [tool(f"t{n}") for n in range(10_000)]}]), "too_large"),
        (modern([{"tools": [tool("a\x07\nFATAL: all is lost")]}]), "bad_protocol"),
        (modern([{"tools": [tool("echo"), tool("echo")]}]), "bad_protocol"),
        (modern([{"tools": "none"}]), "bad_protocol"),
        (modern([{"tools": [], "nextCursor": str(n)} for n in range(1, 60)]), "too_large"),
        (endless_cursor, "bad_protocol"),
        (unknown_version, "bad_protocol"),
        (lambda: talking_server(b"SSH-2.0-OpenSSH_9\r\n"), "bad_protocol"),
        (lambda: talking_server(b""), "http_error"),
        (lambda: talking_server(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"), "bad_protocol"),
    ],
)
async def test_misbehaviour_ends_with_a_reason_and_clean_words(
    prober: Prober, serve: Callable[[], AbstractAsyncContextManager[str]], reason: str
) -> None:
    async with serve() as url:
        result = await check(prober, url)
    assert (result.ok, result.reason) == (False, reason)
    assert result.detail.isprintable()
    assert len(result.detail) < 300
    assert result.action
    assert result.tools == {}


async def test_a_hanging_handshake_server_loses_its_session_too(prober: Prober) -> None:
    server = HandshakeServer()
    inner = server.app

    async def slow_list(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            message = await receive()
            if b"tools/list" in message["body"]:
                await receive()
                return

            async def again() -> Any:
                return message

            await inner(scope, again, send)
        else:
            await inner(scope, receive, send)

    async with serve_app(slow_list) as url:
        result = await check(prober, url, **QUICK)
    assert (result.reason, result.stage) == ("timeout", "tools")
    assert (server.opened, server.open) == (1, set())
