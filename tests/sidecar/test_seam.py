from __future__ import annotations

import logging

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from sidecar.seam import RunnerSeam

TOKEN = "runner-token"


async def answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse("open")


@pytest.fixture
def client() -> httpx.AsyncClient:
    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST", "PUT"])])
    seam = RunnerSeam(app, is_runner=lambda _: lambda token: token == TOKEN)
    return httpx.AsyncClient(transport=httpx.ASGITransport(seam), base_url="http://sidecar")


@pytest.mark.requirement("doors:no-other-route")
@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/v1/chat/completions", "/", "/llm", "/LLM/x", "//llm/x"])
@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {TOKEN}"}, {"x-api-key": TOKEN}, {"authorization": f"bearer  {TOKEN}"}]
)
async def test_a_runner_finds_nothing_but_the_broker(
    client: httpx.AsyncClient, path: str, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async with client:
        with caplog.at_level(logging.WARNING):
            response = await client.get(path, headers=headers)
    assert (response.status_code, response.json()) == (404, {"detail": "Not Found"})
    assert len(caplog.records) == 1
    assert TOKEN not in caplog.text


async def test_the_broker_and_everybody_else_pass(client: httpx.AsyncClient) -> None:
    async with client:
        assert (await client.post("/llm/demo/v1/x", headers={"authorization": f"Bearer {TOKEN}"})).text == "open"
        assert (await client.get("/healthz")).text == "open"
        assert (await client.get("/v1/models", headers={"authorization": "Bearer other"})).text == "open"


@pytest.mark.requirement("doors:no-other-route")
async def test_a_second_header_does_not_hide_the_first(client: httpx.AsyncClient) -> None:
    headers = [("authorization", "Bearer other"), ("authorization", f"Bearer {TOKEN}")]
    async with client:
        assert (await client.get("/v1/models", headers=headers)).status_code == 404
