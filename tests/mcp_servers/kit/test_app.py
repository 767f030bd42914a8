"""The app factory, judged by a real client over HTTP in both protocol eras."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import pytest
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from pydantic import Field, JsonValue

from mcp_servers.kit.app import ALLOWED_HOSTS_ENV, create_app
from mcp_servers.kit.errors import RateLimited
from mcp_servers.kit.integration import READ
from mcp_servers.kit.results import Page, Provenance, ToolResult, page_result
from tests.fakes.asgi_server import serve_app
from tests.mcp_servers.mcp_session import ERAS, connected, failure_of, payload_of

INITIALIZE: dict[str, JsonValue] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}


class Closing:
    def __init__(self) -> None:
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1


def demo_server() -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("demo", title="Demo", version="1", instructions="Say hello.")

    @server.tool(title="Echo", annotations=READ)
    async def echo(ctx: Context, text: Annotated[str, Field(max_length=5, description="What to say")]) -> ToolResult:
        """Say it back."""
        await ctx.report_progress(1, 2, "half")
        return page_result(Page([{"text": text}], {"text": text}, Provenance("Demo", datetime.now(UTC))))

    @server.tool(annotations=READ)
    async def full() -> ToolResult:
        """Always at its limit."""
        raise RateLimited("Demo gets too many calls.", retry_after_s=2.1)

    @server.tool(annotations=READ)
    async def broken() -> ToolResult:
        """Has a bug."""
        raise KeyError("sk-very-secret")

    return server


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with serve_app(create_app(demo_server(), name="demo", allowed_hosts=["open-persona-mcp"])) as address:
        yield address


@pytest.fixture(params=ERAS)
def era(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.requirement("mcp-kit:tools-only")
async def test_only_tools_are_advertised(url: str, era: str) -> None:
    async with connected(url, mode=era) as client:
        said = client.server_capabilities.model_dump(exclude_none=True)
        assert set(said) == {"tools"}
        for attempt in (client.list_resources, client.list_prompts, client.list_resource_templates):
            with pytest.raises(MCPError):
                await attempt()


async def test_tools_are_listed_in_order_with_schema_and_annotations(url: str, era: str) -> None:
    async with connected(url, mode=era) as client:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == ["broken", "echo", "full"]
        echo = tools[1]
        assert echo.annotations is not None
        assert echo.annotations.read_only_hint is True
        assert echo.input_schema["properties"]["text"]["description"] == "What to say"
        assert echo.output_schema is not None
        assert "items" in echo.output_schema["properties"]


@pytest.mark.requirement("mcp-kit:one-payload")
async def test_text_and_structured_content_are_one_payload(url: str, era: str) -> None:
    async with connected(url, mode=era) as client:
        payload = payload_of(await client.call_tool("echo", {"text": "hé“"}))
        assert payload["items"] == [{"text": "hé“"}]
        assert payload["source"] == "Demo"


@pytest.mark.requirement("mcp-kit:progress")
async def test_progress_reaches_the_caller(url: str, era: str) -> None:
    async with connected(url, mode=era) as client:
        seen: list[tuple[float, float | None, str | None]] = []
        arrived = asyncio.Event()

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            seen.append((progress, total, message))
            arrived.set()

        await client.call_tool("echo", {"text": "a"}, progress_callback=on_progress)
        async with asyncio.timeout(5):
            await arrived.wait()
        assert seen == [(1, 2, "half")]


@pytest.mark.requirement("mcp-kit:error-results")
async def test_a_failure_names_its_code_and_the_next_step(url: str, era: str) -> None:
    async with connected(url, mode=era) as client:
        code, text = failure_of(await client.call_tool("full", {}))
        assert code == "rate_limited"
        assert "Wait 3 seconds" in text
        assert "retry_after_seconds: 3" in text


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"text": "much too long"}, "text"),
        ({}, "text"),
        ({"text": "a", "colour": "red"}, "colour"),
        ({"text": 5}, "text"),
    ],
)
async def test_bad_arguments_name_the_field_and_not_the_value(
    url: str, era: str, arguments: dict[str, Any], field: str
) -> None:
    async with connected(url, mode=era) as client:
        code, text = failure_of(await client.call_tool("echo", arguments))
        assert code == "invalid_argument"
        assert f"] {field}: " in text
        assert "much too long" not in text


@pytest.mark.requirement("mcp-kit:sanitized-crash")
async def test_a_crash_tells_the_model_nothing_and_the_log_everything(
    url: str, era: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(url, mode=era) as client:
        with caplog.at_level(logging.INFO):
            code, text = failure_of(await client.call_tool("broken", {}))
        assert code == "internal"
        assert "secret" not in text
        assert "KeyError" not in text
        assert "KeyError" in caplog.text


async def test_an_unknown_tool_is_a_protocol_error(url: str, era: str) -> None:
    async with connected(url, mode=era) as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("nope", {})
        assert caught.value.code == -32602


async def test_healthz_names_the_server(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{url}/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "name": "demo"})


async def _post(url: str, **headers: str) -> int:
    accept = {"accept": "application/json, text/event-stream"}
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{url}/mcp", json=INITIALIZE, headers={**accept, **headers})
    return answer.status_code


@pytest.mark.requirement("mcp-kit:allowed-hosts")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "evil.example"}, 421),
        ({"host": "open-persona-mcp:7001"}, 200),
        ({"host": "open-persona-mcp"}, 200),
        ({"host": "open-persona-mcp.evil.example:7001"}, 421),
        ({"origin": "http://localhost:3000"}, 200),
        ({"origin": "https://evil.example"}, 403),
    ],
)
async def test_hosts_and_origins(url: str, headers: dict[str, str], status: int) -> None:
    assert await _post(url, **headers) == status


async def test_allowed_hosts_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED_HOSTS_ENV, "one, two ,")
    async with serve_app(create_app(demo_server(), name="demo")) as url:
        assert await _post(url, host="two:7001") == 200
        assert await _post(url, host="three:7001") == 421


async def test_what_is_to_be_closed_is_closed_once_when_the_app_stops() -> None:
    closing = Closing()
    async with serve_app(create_app(demo_server(), name="demo", closing=[closing])) as url:
        assert await _post(url) == 200
        assert closing.closed == 0
    assert closing.closed == 1
