"""Backends that misbehave, that speak only the older era, that restart: each hurts its own calls alone."""

from __future__ import annotations

import asyncio
import json
import socket
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from hub.leases import digest_of
from tests.fakes.asgi_server import serve_app
from tests.hub.backends import GOOD, LISTED, TOOLS, answer_to, calling, one
from tests.hub.runners import ToolServer, add, manifest_text, world
from tests.hub.servers import rpc_app, tool

BAD_BODIES: list[tuple[bytes, str, str]] = [
    (b"<html>UPSTREAM</html>", "text/html", "bad_answer"),
    (b'{"jsonrpc": "2.0", "id"', "application/json", "bad_answer"),
    (b'{"jsonrpc": "2.0", "id": 999999, "result": {"content": []}}', "application/json", "bad_answer"),
    (b'{"jsonrpc": "2.0", "id": ID, "result": "UPSTREAM"}', "application/json", "bad_answer"),
    (b'{"jsonrpc": "2.0", "id": ID, "result": {"content": "UPSTREAM"}}', "application/json", "bad_answer"),
    (b'{"jsonrpc": "2.0", "id": ID, "result": {"content": [{"type": "text", "text": 5}]}}', "text/plain", "bad_answer"),
    (b'{"jsonrpc": "2.0", "id": ID, "result": {"content": [], "a": NaN}}', "application/json", "bad_answer"),
    (b'{"jsonrpc": "2.0", "id": ID, "result": {"content": [], "a": 1e999}}', "application/json", "bad_answer"),
    (b"[" * 200_000, "application/json", "bad_answer"),
    (b"\xff\xfe\x00", "application/json", "bad_answer"),
    (b"", "application/json", "bad_answer"),
    (b"data: UPSTREAM\n\n", "text/event-stream", "bad_answer"),
    (b": nothing\n\n", "text/event-stream", "bad_answer"),
]  # fmt: skip


@pytest.mark.requirement("gateway:bad-backends")
async def test_garbage_becomes_a_clear_error_without_its_words(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    bodies = iter(BAD_BODIES)

    async def handle(request: Request) -> Response:
        body, media_type, _ = next(bodies)
        number = str((await request.json())["id"]).encode()
        return Response(body.replace(b"ID", number), media_type=media_type)

    async with one(client, tmp_path, servers_dir, calling(handle)) as here:
        for body, _, outcome in BAD_BODIES:
            answer = await here.call("bad", "act")
            assert (answer.status, answer.result["isError"]) == (200, True), body[:60]
            assert "UPSTREAM" not in answer.text
            assert here.lines[-1]["outcome"] == outcome, body[:60]


@pytest.mark.requirement("gateway:bad-backends")
@pytest.mark.parametrize("status", [201, 301, 400, 401, 403, 404, 421, 429, 500, 503])
async def test_a_wrong_status_becomes_a_clear_error(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path, status: int
) -> None:
    asked = 0

    async def handle(request: Request) -> Response:
        nonlocal asked
        asked += 1
        return Response("UPSTREAM", status, headers={"Location": "http://127.0.0.1:1/mcp"})

    async with one(client, tmp_path, servers_dir, calling(handle)) as here:
        answer = await here.call("bad", "act")
        assert answer.result["isError"]
        assert "UPSTREAM" not in answer.text
        assert here.lines[-1]["outcome"] == ("bad_answer" if status == 201 else "backend_error")
        assert asked == 1


async def test_an_error_of_the_backends_own_is_passed_on_cleaned(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    async def handle(request: Request) -> Response:
        error = {"code": -32050, "message": "no\n\x1b[31msuch thing" + "x" * 900, "data": {"a": 1}}
        return JSONResponse({"jsonrpc": "2.0", "id": (await request.json())["id"], "error": error}, 400)

    async with one(client, tmp_path, servers_dir, calling(handle)) as here:
        error = (await here.call("bad", "act")).messages[0]["error"]
        assert set(error) == {"code", "message"}
        assert (error["code"], error["message"][:17], len(error["message"])) == (-32050, "no �[31msuch thin", 300)
        assert here.lines[-1]["outcome"] == "rpc_error"


@pytest.mark.requirement("gateway:deadline")
async def test_a_silent_backend_costs_its_own_call_its_limit(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    async def handle(request: Request) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    server = ToolServer()
    async with serve_app(server.app) as url:
        add(servers_dir, "tools", manifest_text(url, "tools"))
        async with one(client, tmp_path, servers_dir, calling(handle), limits="{timeout_s: 0.4}") as here:
            await here.lease({"tools": ["echo"], "bad": ["act"]})
            hanging = asyncio.create_task(here.call("bad", "act"))
            assert (await here.call("tools", "echo", {"text": "a"})).text == "a"
            assert not hanging.done()
            answer = await hanging
            assert "did not answer within 0.4 s" in answer.text
            assert here.lines[-1]["outcome"] == "timeout"
            assert 350 < here.lines[-1]["ms"] < 3000


@pytest.mark.requirement("gateway:size-cap")
async def test_results_are_cut_with_a_marker(client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path) -> None:
    sizes: list[dict[str, Any]] = [
        {"content": [{"type": "text", "text": "a" * 600}], "structuredContent": {"b": "b" * 900}},
        {"content": [{"type": "text", "text": "short"}, {"type": "text", "text": "é\n\"" * 900}]},
        {"content": [{"type": "image", "data": "A" * 5000, "mimeType": "image/png"}, {"type": "text", "text": "b"}]},
        {"content": [{"type": "text", "text": "c"}] * 200, "isError": True},
    ]  # fmt: skip
    results = iter(sizes)

    async def handle(request: Request) -> Response:
        return answer_to(await request.json(), next(results))

    async with one(client, tmp_path, servers_dir, calling(handle), limits="{max_result_bytes: 1200}") as here:
        answers = [await here.call("bad", "echo", modern=modern) for modern in (False, True, False, False)]
        for answer in answers:
            assert len(json.dumps(answer.result, ensure_ascii=False, separators=(",", ":")).encode()) <= 1200
        assert answers[0].result["content"] == sizes[0]["content"]
        assert "structuredContent" not in answers[0].result
        first, second, marker = answers[1].result["content"]
        assert (first["text"], second["text"][:3]) == ("short", "é\n\"")  # fmt: skip
        assert len(second["text"]) > 300
        assert marker["text"].startswith("[Cut by Open Persona: the result has ")
        assert [block["type"] for block in answers[2].result["content"]] == ["text"]
        assert answers[3].result["isError"] is True
        assert [line["outcome"] for line in here.lines] == ["cut", "cut", "cut", "tool_error"]


@pytest.mark.requirement("gateway:memory")
@pytest.mark.parametrize("media_type", ["application/json", "text/event-stream"])
async def test_ten_megabytes_are_not_read(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path, media_type: str
) -> None:
    async def handle(request: Request) -> Response:
        async def flood() -> AsyncIterator[bytes]:
            yield b'data: {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "'
            for _ in range(160):
                yield b"x" * 65536
            yield b'"}]}}\n\n'

        return StreamingResponse(flood(), media_type=media_type)

    async with one(client, tmp_path, servers_dir, calling(handle), limits="{calls_per_minute: 1000}") as here:
        tracemalloc.start()
        try:
            for answer in await asyncio.gather(*(here.call("bad", "echo") for _ in range(16))):
                assert answer.result["isError"]
                assert "larger than is read" in answer.text
            assert tracemalloc.get_traced_memory()[1] < 50 * 1024 * 1024
        finally:
            tracemalloc.stop()
        assert {line["outcome"] for line in here.lines} == {"too_large"}


@pytest.mark.requirement("gateway:rate-limit")
async def test_too_many_calls_are_told_to_wait(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    async def handle(request: Request) -> Response:
        return answer_to(await request.json(), GOOD)

    async with one(client, tmp_path, servers_dir, calling(handle), limits="{calls_per_minute: 2}") as here:
        await here.lease({"bad": ["act"]}, token="other", user="u2")
        assert [(await here.call("bad", "act")).text for _ in range(2)] == ["fine", "fine"]
        refused = await here.call("bad", "act")
        assert refused.text == "Bad takes 2 calls a minute from one user. Try again in 30 s."
        assert here.lines[-1]["outcome"] == "rate_limited"
        assert (await here.call("bad", "act", token="other")).text == "fine"


@pytest.mark.requirement("gateway:retry")
async def test_a_restart_between_two_calls_is_not_noticed(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    async def handle(request: Request) -> Response:
        return answer_to(await request.json(), GOOD)

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    async with serve_app(calling(handle), port=port) as url:
        add(servers_dir, "bad", manifest_text(url, "bad", tools=TOOLS))
        running = world(client, tmp_path, servers_dir)
        here = await running.__aenter__()
        await here.lease({"bad": list(TOOLS)})
        assert (await here.call("bad", "act")).text == "fine"
    try:
        gone = await here.call("bad", "act")
        assert "could not be reached" in gone.text
        async with serve_app(calling(handle), port=port):
            assert (await here.call("bad", "act")).text == "fine"
        assert [line["outcome"] for line in here.lines] == ["ok", "unreachable", "ok"]
    finally:
        await running.__aexit__(None, None, None)


@pytest.mark.requirement("gateway:retry")
@pytest.mark.parametrize(("tool_name", "tried", "said"), [("echo", 2, "fine"), ("act", 1, "could not be reached")])
async def test_only_what_can_run_twice_is_tried_again(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path, tool_name: str, tried: int, said: str
) -> None:
    calls = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        while head := await reader.readuntil(b"\r\n\r\n"):
            size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            message = json.loads(await reader.readexactly(size))
            result: dict[str, Any] = {"supportedVersions": ["2026-07-28"], "capabilities": {}}
            if message["method"] == "tools/call":
                calls += 1
                if calls == 1:
                    break
                result = GOOD
            result = LISTED if message["method"] == "tools/list" else result
            body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
            kind = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            writer.write(kind % len(body) + body)
        writer.close()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await accept(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    add(servers_dir, "bad", manifest_text(url, "bad", tools=TOOLS))
    try:
        async with world(client, tmp_path, servers_dir) as here:
            await here.lease({"bad": list(TOOLS)})
            answer = await here.call("bad", tool_name)
            assert said in answer.text
            assert calls == tried
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.requirement("gateway:header-arguments")
async def test_arguments_that_a_tool_wants_as_headers(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    seen: list[str | None] = []

    async def mcp(request: Request) -> Response:
        message = await request.json()
        seen.append(request.headers.get("mcp-param-region"))
        result: dict[str, Any] = {"supportedVersions": ["2026-07-28"], "capabilities": {}}
        if message["method"] == "tools/list":
            result = {"tools": [tool("echo", inputSchema=schema), tool("act")]}
        return answer_to(message, GOOD if message["method"] == "tools/call" else result)

    async with one(client, tmp_path, servers_dir, rpc_app(mcp)) as here:
        seen.clear()
        await here.call("bad", "echo", {"region": "eu"})
        assert seen == ["eu"]
        right = await here.call(
            "bad", "echo", {"region": "zü"}, modern=True, headers={"Mcp-Param-Region": "=?base64?esO8?="}
        )
        assert (right.status, seen[-1]) == (200, "=?base64?esO8?=")
        for headers in ({"Mcp-Param-Region": "us"}, {}):
            wrong = await here.call("bad", "echo", {"region": "eu"}, modern=True, headers=headers)
            assert (wrong.status, wrong.messages[0]["error"]["code"]) == (400, -32020)
        assert len(seen) == 2


@pytest.mark.requirement("gateway:unavailable-at-once")
async def test_a_backend_that_flaps(client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path) -> None:
    async def handle(request: Request) -> Response:
        return answer_to(await request.json(), GOOD)

    async with one(client, tmp_path, servers_dir, calling(handle)) as here:
        board = here.hub.board
        good = board.standing("bad")
        for _ in range(3):
            board.restore("bad", replace(good, health="down", reason="refused"), ())
            assert (await here.ask("bad", "tools/list")).result["tools"] == []
            assert "is down" in (await here.call("bad", "act")).text
            board.restore("bad", replace(good), ())
            assert len((await here.ask("bad", "tools/list")).result["tools"]) == 2
            assert (await here.call("bad", "act")).text == "fine"


async def test_after_a_restart_the_list_waits_for_the_first_probe(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    async def handle(request: Request) -> Response:
        return answer_to(await request.json(), GOOD)

    async with one(client, tmp_path, servers_dir, calling(handle)) as here:
        board = here.hub.board
        good = board.standing("bad")
        names = tuple(replace(one, definition={}) for one in good.tools or ())
        board.restore("bad", replace(good, tools=names), ())
        assert (await here.call("bad", "act")).text == "fine"
        listed = (await here.ask("bad", "tools/list")).result["tools"]
        assert [one["inputSchema"] for one in listed] == [{"type": "object"}] * 2
        assert board.standing("bad").tools != names


@pytest.mark.requirement("gateway:no-secret-shown")
async def test_settings_and_tokens_are_in_no_log_and_no_answer(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    answers = iter([Response("x", 500), Response("{", media_type="application/json")])

    async def handle(request: Request) -> Response:
        return next(answers, None) or answer_to(await request.json(), {"content": [{"type": "odd"}]})

    async with one(client, tmp_path, servers_dir, calling(handle)) as here:
        grants: dict[str, Any] = {"bad": (["echo", "act"], {"key": "CANARY-setting"})}
        token = "CANARY-token"
        await here.lease(grants, token=token)
        bodies = [(await here.call("bad", "act", token=token)).body for _ in range(3)]
        bodies.append((await here.call("bad", "nope", token=token)).body)
        bodies.append((await here.call("other", "nope", token=token)).body)
        for path in ("/status", "/metrics", "/", "/api/v1/integrations"):
            async with here.http.get(here.url + path) as answer:
                bodies.append(await answer.read())
        shown = b"".join(bodies).decode() + caplog.text + json.dumps(here.lines)
        held = here.hub.leases.of_runner(digest_of(token))
        assert held, "the canary was there to be found"
        shown += repr(held) + repr(here.hub.leases._by_id)
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "bad" in shown
    assert "CANARY" not in shown
    assert b"CANARY" not in stored


@pytest.mark.requirement("gateway:handshake-backends")
async def test_a_stream_that_begins_with_an_event_without_data(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    async def handle(request: Request) -> Response:
        answer = {"jsonrpc": "2.0", "id": (await request.json())["id"], "result": GOOD}
        return Response(f"id: 1\ndata: \n\nid: 2\ndata: {json.dumps(answer)}\n\n", media_type="text/event-stream")

    async with one(client, tmp_path, servers_dir, calling(handle)) as here:
        assert (await here.call("bad", "echo")).text == "fine"


@pytest.mark.requirement("gateway:no-secret-shown")
async def test_a_secret_setting_that_a_backend_repeats_is_taken_out(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    key = 'CANARY-"key"-7261'
    answers: list[dict[str, Any]] = [
        {"result": {"content": [{"type": "text", "text": "x" * 700 + key}], "structuredContent": {key: [key]}}},
        {"error": {"code": -32000, "message": "x" * 290 + key}},
    ]

    async def handle(request: Request) -> Response:
        message = await request.json()
        params = {"progressToken": message["id"], "progress": 1, "message": f"with {key}"}
        progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        answer = {"jsonrpc": "2.0", "id": message["id"], **answers.pop(0)}
        return Response(
            "".join(f"data: {json.dumps(one)}\n\n" for one in (progress, answer)), media_type="text/event-stream"
        )

    settings = "settings: [{key: api_key, title: Key, secret: true}, {key: place, title: Place}]\n"
    async with serve_app(calling(handle)) as url:
        text = manifest_text(url, "bad", tools=TOOLS, limits="{max_result_bytes: 1000}")
        add(servers_dir, "bad", text + settings)
        async with world(client, tmp_path, servers_dir) as here:
            await here.lease({"bad": (["echo"], {"api_key": key, "place": "x"})})
            asked = {"name": "echo", "arguments": {}, "_meta": {"progressToken": "p"}}
            bodies = [(await here.ask("bad", "tools/call", asked)).body.decode() for _ in range(2)]
    assert all("with [redacted]" in body and "CANARY" not in body for body in bodies)
    assert "x[redacted]" in bodies[0]
