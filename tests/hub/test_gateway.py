"""The gateway with real servers of the kit behind it, asked raw and by the official client in both eras."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from mcp.shared.exceptions import MCPError

from hub.gateway_reply import Receive, read_body
from tests.fakes.asgi_server import serve_app
from tests.hub.runners import ENVELOPE, TOKEN, ToolServer, World, add, manifest_text, world
from tests.hub.servers import free_address, listing, rpc_app, tool

GRANTED = ["echo", "count", "wait", "whoami", "fill"]


@pytest.fixture
def server() -> ToolServer:
    return ToolServer()


@pytest.fixture
async def here(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path, server: ToolServer
) -> AsyncIterator[World]:
    """``tools`` answers, ``dead`` is down, ``closed`` is disabled, ``broken`` is invalid; no lease yet."""
    async with serve_app(server.app) as url:
        add(servers_dir, "tools", manifest_text(url, "tools", ours=True))
        add(servers_dir, "dead", manifest_text(await free_address(), "dead", probe="{failures_before_down: 1}"))
        add(servers_dir, "closed", manifest_text(url, "closed"))
        add(servers_dir, "broken", "manifest_version: 1\nname: broken\nport: 7\n")
        async with world(client, tmp_path, servers_dir, hub_disabled="closed") as made:
            yield made


@pytest.mark.requirement("gateway:both-eras")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_works_in_both_eras(here: World, mode: str) -> None:
    await here.lease({"tools": GRANTED})
    seen: list[tuple[float, float | None, str | None]] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    async with here.client("tools", mode=mode) as client:
        assert client.protocol_version == ("2026-07-28" if mode == "auto" else "2025-11-25")
        assert client.server_info is not None
        assert client.server_info.name == "tools"
        assert client.server_capabilities.tools is not None
        assert client.server_capabilities.resources is None
        assert {one.name for one in (await client.list_tools()).tools} == {*GRANTED, "shut"}
        result = await client.call_tool("echo", {"text": "héllo"})
        assert (result.is_error, result.content[0].text) == (False, "héllo")  # type: ignore[union-attr]
        counted = await client.call_tool("count", {"to": 3}, progress_callback=progress)
        assert counted.content[0].text == "counted"  # type: ignore[union-attr]
        wrong = await client.call_tool("echo", {"nope": 1})
        assert wrong.is_error
        with pytest.raises(MCPError) as denied:
            await client.call_tool("shut", {})
        assert denied.value.error.code == -32602
    assert seen == [(1, 3, "at 1"), (2, 3, "at 2"), (3, 3, "at 3")]


@pytest.mark.requirement("gateway:denied-is-unknown")
async def test_denied_and_unknown_are_the_same_answer(here: World) -> None:
    await here.lease({"tools": ["echo"]})
    await here.lease({"closed": ["echo"]}, token="other")
    message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    answers = []
    for method in ("POST", "GET", "DELETE", "PUT", "PATCH"):
        for name, token in (("tools", ""), ("tools", "wrong"), ("tools", "other"), ("none", TOKEN), ("closed", TOKEN)):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answers.append(await here.send(name, message, headers, method))
    assert {(one.status, one.body) for one in answers} == {(404, answers[0].body)}
    drop = {"Date"}
    assert len({json.dumps({k: v for k, v in one.headers.items() if k not in drop}) for one in answers}) == 1
    whys = ["no_token", "unknown_token", "not_granted", "unknown_integration", "not_granted"]
    assert [line["outcome"] for line in here.lines] == whys * 5


@pytest.mark.requirement("gateway:late-body")
async def test_a_body_that_comes_after_its_lease_reaches_nothing(
    here: World, server: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await here.lease({"tools": ["echo"]})
    params = {"name": "echo", "arguments": {"text": "late"}}
    message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    reading, gone = asyncio.Event(), asyncio.Event()

    async def read(receive: Receive, limit: int) -> bytes | None:
        reading.set()
        return await read_body(receive, limit)

    async def body() -> AsyncIterator[bytes]:
        yield message[:20]
        await gone.wait()
        yield message[20:]

    monkeypatch.setattr("hub.gateway.read_body", read)
    late = asyncio.create_task(here.send("tools", body(), {"Authorization": f"Bearer {TOKEN}"}))
    async with asyncio.timeout(10):
        await reading.wait()
        assert await here.drop(lease) == 204
        gone.set()
        answer = await late
    assert (answer.status, answer.body) == (404, (await here.call("none", "echo")).body)
    assert server.calls == 0


@pytest.mark.requirement("gateway:denied-is-unknown")
@pytest.mark.parametrize("modern", [False, True])
async def test_a_denied_tool_answers_like_an_unknown_one(here: World, server: ToolServer, modern: bool) -> None:
    await here.lease({"tools": ["echo", "gone"]})
    denied = await here.call("tools", "fill", {"size": 1}, modern=modern)
    unknown = await here.call("tools", "no-such-tool", modern=modern)
    not_approved = await here.call("tools", "gone", modern=modern)
    assert denied.body == unknown.body == not_approved.body
    assert denied.status == unknown.status == not_approved.status == (400 if modern else 200)
    error = denied.messages[0]["error"]
    assert (error["code"], error["message"]) == (-32602, "Unknown tool")
    assert [line["outcome"] for line in here.lines] == ["tool_not_granted", "unknown_tool", "unknown_tool"]
    assert server.calls == 0


@pytest.mark.requirement("gateway:body-decides")
async def test_the_body_decides_and_headers_must_agree(here: World, server: ToolServer) -> None:
    await here.lease({"tools": ["echo"]})
    lying = {"Mcp-Name": "echo"}
    assert (await here.call("tools", "shut", modern=False, headers=lying)).messages[0]["error"]["code"] == -32602
    for header in ({"Mcp-Name": "shut"}, {"Mcp-Method": "tools/list"}, {"MCP-Protocol-Version": "2025-11-25"}):
        answer = await here.call("tools", "echo", {"text": "a"}, modern=True, headers=header)
        assert (answer.status, answer.messages[0]["error"]["code"]) == (400, -32020)
    twice = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"shut","name":"echo","arguments":{"text":"b"}}}'  # noqa: E501
    answer = await here.send("tools", twice, {"Authorization": f"Bearer {TOKEN}"})
    assert answer.text == "b"
    encoded = base64.b64encode(b"echo").decode()
    named = await here.call("tools", "echo", {"text": "c"}, modern=True, headers={"Mcp-Name": f"=?base64?{encoded}?="})
    assert (named.text, server.calls) == ("c", 2)


async def test_what_is_no_request_is_refused(here: World) -> None:
    await here.lease({"tools": ["echo"]})
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    bodies: dict[bytes, int] = {
        b"": -32700,
        b"{": -32700,
        b"\xff": -32700,
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}': -32700,
        b"[" * 100_000: -32700,
        b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]': -32600,
        b'{"jsonrpc":"2.0","id":null,"method":"ping"}': -32600,
        b'{"jsonrpc":"2.0","id":true,"method":"ping"}': -32600,
        b'{"jsonrpc":"2.0","id":1,"result":{}}': -32600,
    }
    for body, code in bodies.items():
        answer = await here.send("tools", body, bearer)
        assert (answer.status, answer.messages[0]["error"]["code"]) == (400, code), body[:60]
    assert (await here.send("tools", io.BytesIO(b" " * (4 * 1024 * 1024 + 1)), bearer)).status == 413
    for method in ("GET", "DELETE"):
        assert (await here.send("tools", b"", bearer, method)).status == 405


async def test_other_methods_are_not_there(here: World) -> None:
    await here.lease({"tools": ["echo"]})
    for method in ("resources/list", "prompts/list", "logging/setLevel", "completion/complete", "server/discover"):
        assert (await here.ask("tools", method)).messages[0]["error"]["code"] == -32601
    for method in ("resources/list", "ping", "initialize", "subscriptions/listen"):
        answer = await here.ask("tools", method, modern=True)
        assert (answer.status, answer.messages[0]["error"]["code"]) == (404, -32601)


async def test_the_handshake(here: World) -> None:
    await here.lease({"tools": ["echo"]})
    for wanted, given in (("2025-03-26", "2025-03-26"), ("1999-01-01", "2025-11-25"), ("2026-07-28", "2025-11-25")):
        answer = await here.ask("tools", "initialize", {"protocolVersion": wanted, "capabilities": {}})
        assert answer.result["protocolVersion"] == given
        assert set(answer.result["capabilities"]) == {"tools"}
        assert "Mcp-Session-Id" not in answer.headers
    assert (await here.ask("tools", "ping")).result == {}
    noted = await here.ask("tools", "notifications/initialized", request_id=None)
    assert (noted.status, noted.body) == (202, b"")
    unknown = await here.ask("tools", "tools/list", headers={"MCP-Protocol-Version": "2030-01-01"}, modern=False)
    assert unknown.status == 400
    meta = {**ENVELOPE, "io.modelcontextprotocol/protocolVersion": "2030-01-01"}
    newer = await here.ask(
        "tools", "tools/list", {"_meta": meta}, modern=True, headers={"MCP-Protocol-Version": "2030-01-01"}
    )
    assert newer.messages[0]["error"]["data"]["supported"] == ["2026-07-28"]


@pytest.mark.requirement("gateway:list-from-probe")
async def test_lists_come_in_pages_from_the_last_probe(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    names = [f"tool_{number:03}" for number in range(240)]
    entries = [tool(name, outputSchema={"type": "object"}, icons=[]) for name in names]
    async with serve_app(rpc_app(listing([{"tools": [*entries, tool("not_in_the_manifest")]}]))) as url:
        add(servers_dir, "many", manifest_text(url, "many", tools=dict.fromkeys(names, "read")))
        hub = world(client, tmp_path, servers_dir)
        here = await hub.__aenter__()
    try:  # the server is gone now
        await here.lease({"many": names[:1]})
        for modern in (False, True):
            found: list[dict[str, Any]] = []
            cursor: dict[str, Any] = {}
            pages = 0
            while pages == 0 or cursor:
                result = (await here.ask("many", "tools/list", cursor, modern=modern)).result
                found += result["tools"]
                cursor = {"cursor": result["nextCursor"]} if "nextCursor" in result else {}
                pages += 1
            assert ([one["name"] for one in found], pages) == (names, 3)
            assert set(found[0]) == {"name", "description", "inputSchema"}
            for wrong in ("x", 7, None):
                answer = await here.ask("many", "tools/list", {"cursor": wrong}, modern=modern)
                assert answer.messages[0]["error"]["code"] == -32602
    finally:
        await hub.__aexit__(None, None, None)


@pytest.mark.requirement("gateway:unavailable-at-once")
@pytest.mark.parametrize(
    ("name", "said"), [("dead", "is down (refused)"), ("closed", "switched off"), ("broken", "set up")]
)
async def test_what_can_not_be_called_says_so_at_once(here: World, name: str, said: str) -> None:
    await here.lease({name: ["echo"]})
    for modern in (False, True):
        assert (await here.ask(name, "tools/list", modern=modern)).result["tools"] == []
        answer = await here.call(name, "echo", {"text": "a"}, modern=modern)
        assert answer.result["isError"] is True
        assert said in answer.text
    assert [line["outcome"] for line in here.lines] == ["unavailable"] * 2
    async with here.client(name) as client:
        assert (await client.call_tool("echo", {"text": "a"})).is_error


@pytest.mark.requirement("gateway:settings-headers")
async def test_settings_go_as_headers_and_the_token_stays(here: World) -> None:
    await here.lease({"tools": (["whoami"], {"api_key_id": "id-7", "api_private_key": "s3cr3t"})})
    for modern in (False, True):
        seen = (await here.call("tools", "whoami", modern=modern)).result["structuredContent"]
        assert seen["x-open-persona-setting-api-key-id"] == "id-7"
        assert seen["x-open-persona-setting-api-private-key"] == "s3cr3t"
        assert TOKEN not in json.dumps(seen)
        assert "authorization" not in seen


@pytest.mark.requirement("gateway:cancel")
@pytest.mark.parametrize("modern", [False, True])
async def test_a_client_that_hangs_up_cancels_the_call(here: World, server: ToolServer, modern: bool) -> None:
    await here.lease({"tools": ["wait"]})
    calling = asyncio.create_task(here.call("tools", "wait", modern=modern))
    await asyncio.wait_for(server.waiting.wait(), 5)
    calling.cancel()
    await asyncio.wait_for(server.cancelled.wait(), 5)
    await here.until(lambda: bool(here.lines))
    assert here.lines[-1]["outcome"] == "cancelled"


@pytest.mark.requirement("gateway:cancel")
async def test_a_cancellation_ends_that_call_of_that_runner_alone(here: World, server: ToolServer) -> None:
    await here.lease({"tools": ["wait"]})
    await here.lease({"tools": ["wait"]}, token="other")
    calling = asyncio.create_task(here.call("tools", "wait", request_id=5))
    await asyncio.wait_for(server.waiting.wait(), 5)
    for token, request_id in (("other", 5), (TOKEN, "5"), (TOKEN, 6)):
        await here.ask("tools", "notifications/cancelled", {"requestId": request_id}, request_id=None, token=token)
    assert not server.cancelled.is_set()
    await here.ask("tools", "notifications/cancelled", {"requestId": 5}, request_id=None)
    await asyncio.wait_for(server.cancelled.wait(), 5)
    answer = await calling
    assert (answer.result["isError"], here.lines[-1]["outcome"]) == (True, "cancelled")


@pytest.mark.requirement("gateway:audit")
async def test_each_call_leaves_one_line_without_what_was_said(here: World) -> None:
    await here.lease({"tools": ["echo"]})
    await here.call("tools", "echo", {"text": "my secret plan"})
    await here.call("tools", "shut\nhub.audit: forged", {"text": "my secret plan"})
    first, second = here.lines
    assert set(first) == {"at", "user", "persona", "integration", "tool", "outcome", "ms"}
    assert (first["user"], first["persona"], first["integration"]) == ("u1", "izzy", "tools")
    assert (first["tool"], first["outcome"]) == ("echo", "ok")
    assert first["ms"] > 0
    assert "\n" not in second["tool"]
    assert "secret plan" not in json.dumps(here.lines)
    async with here.http.get(f"{here.url}/metrics") as answer:
        metrics = await answer.text()
    assert 'open_persona_hub_calls_total{integration="tools",outcome="ok"} 1.0' in metrics
    assert "forged" not in metrics


@pytest.mark.requirement("gateway:runner-elsewhere")
async def test_a_runner_finds_nothing_else_on_the_hub(here: World) -> None:
    await here.lease({"tools": ["echo"]})
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for method, path in (
        ("GET", "/"), ("GET", "/status"), ("GET", "/metrics"), ("GET", "/healthz"), ("GET", "/api/v1/integrations"),
        ("GET", "/api/v1/events"), ("GET", "/mcp"),
    ):  # fmt: skip
        async with here.http.request(method, here.url + path, headers=bearer) as answer:
            body = await answer.read()
        async with here.http.request(method, here.url + "/no/such/route") as nothing:
            assert (answer.status, body) == (nothing.status, await nothing.read()) == (404, body), path
    for method, path in (("PUT", f"/api/v1/leases/{'0' * 32}"), ("POST", "/api/v1/integrations/tools/probe")):
        async with here.http.request(method, here.url + path, headers=bearer) as answer:
            assert answer.status == 404
    assert [line["outcome"] for line in here.lines] == ["other_route"] * 9


@pytest.mark.requirement("gateway:runner-elsewhere")
async def test_a_runners_token_is_known_after_its_turn_and_in_any_header(here: World) -> None:
    await here.drop(await here.lease({"tools": ["echo"]}))
    basic = base64.b64encode(f"x:{TOKEN}".encode()).decode()
    for headers in (
        [("Authorization", f"Bearer {TOKEN}")],
        [("Authorization", "Bearer other"), ("Authorization", f"bearer  {TOKEN}")],
        [("Authorization", f"Basic {basic}")],
        [("X-Api-Key", TOKEN)],
    ):
        async with here.http.get(here.url + "/status", headers=headers) as answer:
            assert answer.status == 404, headers
    assert [line["outcome"] for line in here.lines] == ["other_route"] * 4


async def test_a_page_of_elsewhere_is_refused(here: World) -> None:
    await here.lease({"tools": ["echo"]})
    for origin, status in (("http://evil.example", 403), ("http://localhost:1234", 200), ("null", 403)):
        assert (await here.ask("tools", "ping", headers={"Origin": origin})).status == status
    assert (await here.ask("tools", "ping", headers={"Host": "evil.example"})).status == 421
