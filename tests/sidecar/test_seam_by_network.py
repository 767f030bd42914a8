"""A caller from a runner's network finds the broker and nothing else, whatever it sends: asked over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr

from open_persona.ports import free_ports
from sidecar.app import create_app
from sidecar.settings import Settings
from tests.raw_calls import METHODS, RUNNER, SUBNETS, UPGRADE, Answer, call, calls_of, odd_targets
from tests.sidecar.test_main import start

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
KEY = ("Authorization: Bearer k",)
NOTHING = b'{"detail":"Not Found"}'
DOOR = "/llm/demo/v1/chat/completions"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[int]:
    """The port of a sidecar as it is started anywhere, for which ``RUNNER`` lies in a runner's network."""
    [port] = free_ports(1)
    process = await start(
        tmp_path_factory.mktemp("home"),
        OPEN_PERSONA_SIDECAR_PORT=str(port),
        OPEN_PERSONA_RUNNER_SUBNETS=SUBNETS,
        OPEN_PERSONA_HUB_URL="http://127.0.0.1:9",
        OPEN_PERSONA_LOG_LEVEL="ERROR",
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


def nothing(answer: Answer, method: str) -> bool:
    return answer.status == 404 and answer.body == (b"" if method == "HEAD" else NOTHING)


@pytest.mark.requirement("doors:by-network")
async def test_every_route_is_a_404_to_a_runners_network_with_and_without_the_key(port: int, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, sidecar_api_key=SecretStr("k"), token_key=SecretStr("k"))
    routes = [*calls_of(create_app(settings)), ("GET", "/no/such/route"), ("GET", "/docs"), ("GET", "/openapi.json")]
    assert len(routes) > 6
    for method, path in routes:
        for headers in ((), KEY):
            answer = await call(port, method, path, headers, source=RUNNER)
            assert nothing(answer, method), (method, path, answer)
    assert (await call(port, "GET", "/healthz")).status == 200
    assert (await call(port, "GET", "/v1/models", KEY)).status == 200


@pytest.mark.requirement("doors:by-network")
async def test_every_method_of_a_route_is_a_404(port: int) -> None:
    answers = {method: await call(port, method, "/v1/models", KEY, source=RUNNER) for method in METHODS}
    unknown = {method: await call(port, method, "/no/such", source=RUNNER) for method in METHODS}
    assert answers == unknown
    # httptools knows the methods of HTTP; what it does not know it refuses before any route is looked at.
    assert {method for method, answer in answers.items() if not nothing(answer, method)} == {"FOO"}
    assert answers["FOO"].status == 400


@pytest.mark.requirement("doors:by-network")
@pytest.mark.parametrize("route", ["/v1/models", "/healthz", "/metrics"])
async def test_no_odd_path_leads_around_the_door(port: int, route: str) -> None:
    for target in odd_targets("/llm/", route, f"http://127.0.0.1:{port}"):
        answer = await call(port, "GET", target, KEY, source=RUNNER)
        assert nothing(answer, "GET"), (target, answer)


@pytest.mark.requirement("doors:by-network")
async def test_a_websocket_is_a_404_too(port: int) -> None:
    answer = await call(port, "GET", "/v1/models", (*KEY, *UPGRADE), source=RUNNER)
    assert nothing(answer, "GET")


@pytest.mark.requirement("doors:peer-not-header")
async def test_no_header_makes_a_runner_of_a_caller_or_a_caller_of_a_runner(port: int) -> None:
    for name in ("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "X-Originating-IP", "CF-Connecting-IP"):
        assert nothing(await call(port, "GET", "/healthz", (f"{name}: 127.0.0.1",), source=RUNNER), "GET"), name
        assert (await call(port, "GET", "/healthz", (f"{name}: {RUNNER}",))).status == 200, name
    assert nothing(await call(port, "GET", "/healthz", ("Forwarded: for=127.0.0.1",), source=RUNNER), "GET")


@pytest.mark.requirement("doors:by-network")
async def test_the_broker_answers_a_runner(port: int) -> None:
    answer = await call(port, "POST", DOOR, ("Content-Length: 0",), source=RUNNER)
    assert answer.status == 403
    assert answer == await call(port, "POST", DOOR, ("Content-Length: 0",))
