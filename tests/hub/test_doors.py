"""A caller from a runner's network finds the gateway and nothing else, and beyond loopback the rest needs the key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from pydantic import SecretStr

from hub.access import Access
from hub.app import create_app, open_hub
from hub.settings import HubSettings
from open_persona.ports import free_ports
from tests.fakes.asgi_server import serve_app
from tests.hub.runners import KEY, SERVICE, TOKEN, ToolServer, add, manifest_text, world
from tests.hub.test_main import start
from tests.raw_calls import METHODS, RUNNER, SUBNETS, UPGRADE, Answer, call, calls_of, odd_targets

BEARER = (f"Authorization: Bearer {KEY}",)


in_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[int]:
    """The port of a hub as it is started anywhere, for which ``RUNNER`` lies in a runner's network."""
    [port] = free_ports(1)
    process = await start(
        tmp_path_factory.mktemp("home"),
        tmp_path_factory.mktemp("servers"),
        OPEN_PERSONA_HUB_PORT=str(port),
        OPEN_PERSONA_SERVICE_KEY=KEY,
        OPEN_PERSONA_RUNNER_SUBNETS=SUBNETS,
    )
    try:
        async with asyncio.timeout(20):
            while not await _answers(port):
                await asyncio.sleep(0.05)
        yield port
    finally:
        process.terminate()
        async with asyncio.timeout(20):
            await process.communicate()


async def _answers(port: int) -> bool:
    try:
        return (await call(port, "GET", "/healthz")).status == 200
    except OSError:
        return False


async def unknown(port: int, method: str) -> Answer:
    """What anybody gets for a route that does not exist."""
    answer = await call(port, method, "/no/such/route")
    assert answer.status == 404
    return answer


@pytest.mark.real
@in_one_loop
@pytest.mark.requirement("doors:by-network")
async def test_every_route_is_the_404_of_an_unknown_one(port: int, tmp_path: Path, servers_dir: Path) -> None:
    settings = HubSettings(home=tmp_path / "other", mcp_servers_dir=servers_dir, service_key=SecretStr(KEY))
    async with open_hub(settings) as hub:
        routes = [*calls_of(create_app(hub).own), ("GET", "/mcp"), ("GET", "/no/such")]
    assert len(routes) > 12
    for method, path in routes:
        for headers in ((), BEARER):
            answer = await call(port, method, path, headers, source=RUNNER)
            assert answer == await unknown(port, method), (method, path)
    assert (await call(port, "GET", "/status")).status == 200


@pytest.mark.real
@in_one_loop
@pytest.mark.requirement("doors:by-network")
async def test_no_method_odd_path_or_websocket_leads_around_the_door(port: int) -> None:
    for method in METHODS[:-1]:
        assert await call(port, method, "/status", BEARER, source=RUNNER) == await unknown(port, method), method
    for route in ("/status", "/healthz", "/api/v1/integrations"):
        for target in odd_targets("/mcp/", route, f"http://127.0.0.1:{port}"):
            answer = await call(port, "GET", target, BEARER, source=RUNNER)
            assert answer.status == 404, (target, answer)
            assert answer.body in ((await unknown(port, "GET")).body, (await _nothing_at_the_door(port)).body), target
    assert await call(port, "GET", "/status", (*BEARER, *UPGRADE), source=RUNNER) == await unknown(port, "GET")


async def _nothing_at_the_door(port: int) -> Answer:
    return await call(port, "GET", "/mcp/none", source=RUNNER)


@pytest.mark.real
@in_one_loop
@pytest.mark.requirement("doors:peer-not-header")
async def test_no_header_makes_a_runner_of_a_caller_or_a_caller_of_a_runner(port: int) -> None:
    for header in ("X-Forwarded-For: {}", "X-Real-IP: {}", "Forwarded: for={}"):
        assert (await call(port, "GET", "/healthz", (header.format("127.0.0.1"),), source=RUNNER)).status == 404
        assert (await call(port, "GET", "/healthz", (header.format(RUNNER),))).status == 200


@pytest.mark.requirement("doors:by-network")
async def test_the_gateway_answers_a_runner_by_the_name_that_it_calls(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    async with serve_app(ToolServer().app) as url:
        add(servers_dir, "tools", manifest_text(url, "tools", ours=True))
        async with world(client, tmp_path, servers_dir, runner_subnets=SUBNETS) as here:
            await here.lease({"tools": ["echo"]})
            port = int(here.url.rpartition(":")[2])
            body = '{"jsonrpc":"2.0","id":1,"method":"ping"}'
            headers = (f"Authorization: Bearer {TOKEN}", f"Content-Length: {len(body)}", "", body)
            answer = await call(port, "POST", "/mcp/tools", headers, source=RUNNER, host="open-persona-hub:7000")
    assert (answer.status, answer.body) == (200, b'{"jsonrpc":"2.0","id":1,"result":{}}')


@pytest.mark.requirement("doors:token-at-home")
async def test_a_runners_token_works_from_its_own_address_alone(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    async with serve_app(ToolServer().app) as url:
        add(servers_dir, "tools", manifest_text(url, "tools", ours=True))
        async with world(client, tmp_path, servers_dir, runner_subnets=SUBNETS) as here:
            await here.lease({"tools": ["echo"]}, address=RUNNER)
            port = int(here.url.rpartition(":")[2])
            body = '{"jsonrpc":"2.0","id":1,"method":"ping"}'
            headers = (f"Authorization: Bearer {TOKEN}", f"Content-Length: {len(body)}", "", body)
            answers = {one: await call(port, "POST", "/mcp/tools", headers, source=one) for one in (RUNNER, *OTHERS)}
            unknown = await call(port, "POST", "/mcp/none", headers, source=RUNNER)
    assert answers.pop(RUNNER).status == 200
    assert set(answers.values()) == {unknown}


OTHERS = ("127.9.0.3", "127.0.0.1")


@pytest.mark.parametrize(
    ("client", "found"),
    [
        (("10.213.4.2", 1), True),
        (("::ffff:10.213.4.2", 1), True),
        (("10.214.0.2", 1), False),
        (("fe80::1%eth0", 1), False),
        (("testclient", 50000), False),
        (None, False),
    ],
)
@pytest.mark.requirement("doors:by-network")
def test_which_peers_lie_in_a_runners_network(client: tuple[str, int] | None, *, found: bool) -> None:
    assert Access(HubSettings(service_key=SecretStr("k"))).calls_from_runner(client) is found


@pytest.mark.requirement("hub:keyless-beyond-loopback")
async def test_beyond_loopback_only_health_and_the_catalog_are_open(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    async with serve_app(ToolServer().app) as url:
        add(servers_dir, "x", manifest_text(url, "x", ours=True))
        async with world(client, tmp_path, servers_dir, hub_host="0.0.0.0") as here:
            routes = [path for method, path in calls_of(create_app(here.hub).own) if method == "GET"]
            status = {path: await _status(client, here.url + path, {}) for path in [*routes, EVENTS]}
            with_key = {path: await _status(client, here.url + path, SERVICE) for path in [*routes, EVENTS]}
    assert set(with_key.values()) == {200}
    assert {path for path, code in status.items() if code == 200} == OPEN
    assert set(status.values()) == {200, 401}


EVENTS = "/api/v1/events?calls=true"
OPEN = {"/healthz", "/readyz", "/api/v1/integrations", "/api/v1/events"}


async def _status(client: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> int:
    async with client.get(url, headers=headers) as answer:
        return answer.status
