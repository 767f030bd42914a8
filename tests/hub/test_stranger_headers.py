"""A server that somebody else runs: it gets the headers that its manifest names, and nothing else of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hub.manifest import Manifest
from hub.mcp_http import open_client
from hub.probe import Prober, target_of
from tests.fakes.asgi_server import serve_app
from tests.hub.backends import GOOD, answer_to, calling
from tests.hub.runners import ToolServer, World, add, manifest_text, world
from tests.hub.servers import Handler, manifest_at, rpc_app

HEADERS = "{Authorization: 'Bearer {api_key}', X-Region: '{region}', X-Team: '{team}', X-Fixed: 'yes'}"
SETTINGS = """
  - {key: api_key, title: API key, secret: true, required: true}
  - {key: region, title: Region}
  - {key: team, title: Team, scope: deployment}
"""


def manifest(url: str, settings: str = SETTINGS) -> str:
    text = manifest_text(url, "theirs", tools={"echo": "read", "act": "write"})
    return text.replace("/mcp'}", f"/mcp', headers: {HEADERS}}}") + f"settings: {settings}"


@asynccontextmanager
async def theirs(
    client: aiohttp.ClientSession, home: Path, servers: Path, handle: Handler, settings: str = SETTINGS
) -> AsyncIterator[World]:
    async with serve_app(calling(handle)) as url:
        add(servers, "theirs", manifest(url, settings))
        async with world(client, home, servers) as here:
            yield here


@pytest.mark.requirement("gateway:stranger-headers")
async def test_a_stranger_gets_its_headers_and_none_of_ours(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPEN_PERSONA_THEIRS_TEAM", "blue")
    monkeypatch.setenv("OPEN_PERSONA_THEIRS_API_KEY", "of-the-operator")
    seen: list[dict[str, str]] = []

    async def handle(request: Request) -> Response:
        seen.append(dict(request.headers))
        return answer_to(await request.json(), GOOD)

    async with theirs(client, tmp_path, servers_dir, handle) as here:
        await here.lease({"theirs": (["echo"], {"api_key": "of-ann", "region": "eu"})})
        assert (await here.call("theirs", "echo")).text == "fine"
        await here.lease({"theirs": (["echo"], {"api_key": "of-bob"})}, token="bob", user="bob")
        assert (await here.call("theirs", "echo", token="bob")).text == "fine"
        await here.lease({"theirs": ["echo"]}, token="cyd", user="cyd")
        assert (await here.call("theirs", "echo", token="cyd")).text == "fine"
    got = [
        {key: value for key, value in headers.items() if key.startswith(("x-", "authorization"))} for headers in seen
    ]
    assert got == [
        {"authorization": "Bearer of-ann", "x-region": "eu", "x-team": "blue", "x-fixed": "yes"},
        {"authorization": "Bearer of-bob", "x-team": "blue", "x-fixed": "yes"},
        {"authorization": "Bearer of-the-operator", "x-team": "blue", "x-fixed": "yes"},
    ]


@pytest.mark.requirement("gateway:missing-setting")
async def test_a_missing_setting_is_named_at_once(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    async def handle(request: Request) -> Response:
        raise AssertionError("never asked")

    operators = SETTINGS.replace("scope: deployment", "scope: deployment, required: true")
    async with theirs(client, tmp_path, servers_dir, handle, operators) as here:
        await here.lease({"theirs": (["echo"], {"region": "eu"})})
        text = (await here.call("theirs", "echo")).text
        assert "“API key”" in text
        assert "the tool “Open Persona: Theirs”" in text
        assert here.lines[-1]["outcome"] == "missing_setting"
        await here.lease({"theirs": (["echo"], {"api_key": "k"})}, token="bob")
        assert "OPEN_PERSONA_THEIRS_TEAM" in (await here.call("theirs", "echo", token="bob")).text


@pytest.mark.requirement("gateway:oauth-is-told")
@pytest.mark.parametrize("oauth", [False, True])
async def test_refused_credentials_are_told_without_the_servers_words(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path, oauth: bool
) -> None:
    challenge = 'Bearer resource_metadata="https://a.example/.well-known/x"' if oauth else "Bearer"

    async def handle(request: Request) -> Response:
        error = {"code": -32001, "message": "UPSTREAM"}
        body = {"jsonrpc": "2.0", "id": (await request.json())["id"], "error": error}
        return JSONResponse(body, 401, headers={"WWW-Authenticate": challenge})

    async with theirs(client, tmp_path, servers_dir, handle) as here:
        await here.lease({"theirs": (["echo"], {"api_key": "old"})})
        answer = await here.call("theirs", "echo")
        assert answer.result["isError"]
        assert ("OAuth, which is not supported yet" if oauth else "did not accept the credentials") in answer.text
        assert "UPSTREAM" not in answer.text
        assert here.lines[-1]["outcome"] == "backend_error"


@pytest.mark.requirement("gateway:oauth-is-told")
async def test_a_check_names_oauth_and_what_to_do() -> None:
    async def handle(_: Request) -> Response:
        return Response("no", 401, headers={"WWW-Authenticate": 'Bearer Resource_Metadata="https://a.example/x"'})

    async with serve_app(rpc_app(handle)) as url, open_client() as http:
        result = (await Prober(http).probe(target_of(manifest_at(url), ""))).result
    assert result.reason == "auth"
    assert "needs OAuth, which is not supported yet" in result.detail
    assert "transport.headers of demo/manifest.yaml" in result.action


@pytest.mark.requirement("hub:probe-headers")
async def test_a_check_has_the_operators_value_or_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    async def handle(request: Request) -> Response:
        seen.append(request.headers.get("authorization"))
        message = await request.json()
        result = {"supportedVersions": ["2026-07-28"], "capabilities": {}, "tools": []}
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def with_example(url: str, example: str) -> Manifest:
        settings = [{"key": "api_key", "title": "API key", "secret": True, "example": example}]
        transport = {"type": "http", "url": f"{url}/mcp", "headers": {"Authorization": "Bearer {api_key}"}}
        return manifest_at(url, transport=transport, settings=settings, tools={})

    async with serve_app(rpc_app(handle)) as url, open_client() as http:
        for example in ("", "shown"):
            assert (await Prober(http).probe(target_of(with_example(url, example), ""))).result.ok
        monkeypatch.setenv("OPEN_PERSONA_DEMO_API_KEY", "theirs")
        assert (await Prober(http).probe(target_of(with_example(url, "shown"), ""))).result.ok
    assert seen == [None, None, "Bearer shown", "Bearer shown", "Bearer theirs", "Bearer theirs"]


OPERATORS = "sk-of-the-operator"


@pytest.mark.requirement("gateway:no-secret-shown")
@pytest.mark.parametrize("scope", ["deployment", "user"])
async def test_the_operators_key_comes_back_to_no_user(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path, monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    monkeypatch.setenv("OPEN_PERSONA_THEIRS_API_KEY", OPERATORS)

    async def handle(request: Request) -> Response:
        message = await request.json()
        said = f"You sent {request.headers['authorization']}"
        if message["params"]["name"] == "act":
            error = {"code": -32000, "message": said}
            return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error})
        return answer_to(message, {"content": [{"type": "text", "text": said}]})

    settings = SETTINGS.replace("secret: true", f"secret: true, scope: {scope}")
    async with theirs(client, tmp_path, servers_dir, handle, settings) as here:
        await here.lease({"theirs": ["echo", "act"]})
        assert (await here.call("theirs", "echo")).text == "You sent Bearer [redacted]"
        assert (await here.call("theirs", "act")).messages[-1]["error"]["message"] == "You sent Bearer [redacted]"


@pytest.mark.requirement("gateway:no-secret-shown")
@pytest.mark.parametrize("status", [200, 500])
async def test_a_checks_key_is_in_no_definition_and_no_detail(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("OPEN_PERSONA_DEMO_API_KEY", OPERATORS)

    async def handle(request: Request) -> Response:
        message, said = await request.json(), f"Called with {request.headers['authorization']}."
        listed = {"name": "echo", "description": said, "inputSchema": {"type": "object"}}
        result = {"supportedVersions": ["2026-07-28"], "capabilities": {}, "tools": [listed]}
        answer = {"result": result} if status == 200 else {"error": {"code": -32603, "message": said}}
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], **answer}, status)

    settings = [{"key": "api_key", "title": "API key", "secret": True}]
    async with serve_app(rpc_app(handle)) as url, open_client() as http:
        transport = {"type": "http", "url": f"{url}/mcp", "headers": {"Authorization": "Bearer {api_key}"}}
        demo = manifest_at(url, transport=transport, settings=settings)
        seen = await Prober(http).probe(target_of(demo, ""))
    assert OPERATORS not in repr((seen.result, [tool.definition for tool in seen.tools]))
    told = seen.tools[0].description if status == 200 else seen.result.detail
    assert "Called with Bearer [redacted]." in told


@pytest.mark.requirement("gateway:drain")
async def test_a_removed_integration_may_finish_what_it_does(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def handle(request: Request) -> Response:
        asked.set()
        await go.wait()
        return answer_to(await request.json(), GOOD)

    async with theirs(client, tmp_path, servers_dir, handle) as here:
        await here.lease({"theirs": (["echo"], {"api_key": "k"})})
        calling_ = asyncio.create_task(here.call("theirs", "echo"))
        await asyncio.wait_for(asked.wait(), 5)
        (servers_dir / "theirs" / "manifest.yaml").unlink()
        await here.until(lambda: "theirs" not in here.hub.board.catalog.names)
        assert (await here.call("theirs", "echo")).status == 404
        go.set()
        assert (await calling_).text == "fine"


@pytest.mark.requirement("gateway:settings-headers")
async def test_a_server_of_ours_still_gets_settings_by_their_names(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    server = ToolServer()
    async with serve_app(server.app) as url:
        add(servers_dir, "tools", manifest_text(url, "tools", ours=True))
        async with world(client, tmp_path, servers_dir) as here:
            await here.lease({"tools": (["whoami"], {"api_key": "k"})})
            seen = (await here.call("tools", "whoami")).result["structuredContent"]
            assert seen["x-open-persona-setting-api-key"] == "k"
