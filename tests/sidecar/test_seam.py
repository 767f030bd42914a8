from __future__ import annotations

import logging
from ipaddress import IPv4Network

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from sidecar.seam import RunnerSeam, at_door, home_of, lies_in

TOKEN = "runner-token"


async def answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse("open")


@pytest.fixture
def client() -> httpx.AsyncClient:
    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST", "PUT"])])
    seam = RunnerSeam(app, is_runner=lambda _: lambda token: token == TOKEN, subnets=IPv4Network("10.213.0.0/16"))
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


@pytest.mark.parametrize(
    ("client", "found"),
    [
        (("10.213.4.2", 1), True),
        (("::ffff:10.213.4.2", 1), True),
        (("::ffff:0ad5:0402", 1), True),
        (("10.214.0.2", 1), False),
        (("::10.213.4.2", 1), False),
        (("fe80::1%eth0", 1), False),
        (("testclient", 50000), False),
        (("", 0), False),
        (None, False),
    ],
)
@pytest.mark.requirement("doors:by-network")
def test_which_peers_lie_in_a_runners_network(client: tuple[str, int] | None, *, found: bool) -> None:
    assert lies_in(IPv4Network("10.213.0.0/16"), client) is found


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/llm/demo/v1/chat/completions", True),
        ("/llm/x/y", True),
        ("/llm/", False),
        ("/llm/x", False),
        ("/llm//x/y", False),
        ("/llm/../v1/models", False),
        ("/llm/x/./y", False),
        ("//llm/x/y", False),
        ("http://h/llm/x/y", False),
        ("*", False),
        ("", False),
    ],
)
def test_what_the_door_is(path: str, *, there: bool) -> None:
    assert at_door(path) is there


@pytest.mark.parametrize(
    ("url", "home"),
    [("http://10.213.0.3:4096", "10.213.0.3"), ("http://127.0.0.1:40000", ""), ("http://name:4096", ""), ("", "")],
)
@pytest.mark.requirement("doors:token-at-home")
def test_only_a_runner_in_a_container_has_an_address_of_its_own(url: str, home: str) -> None:
    assert home_of(url, IPv4Network("10.213.0.0/16")) == home
