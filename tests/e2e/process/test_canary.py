"""Secrets are looked for everywhere after a conversation that used them; first it is shown that one would be found."""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from mcp_servers.instrumentl import server as instrumentl
from mcp_servers.instrumentl.client import ADVICE, POLICY, TITLE
from mcp_servers.kit.upstream import Upstream
from tests.e2e.process.deployment import API_KEY, SERVICE_KEY, Deployment, Shipped, running_deployment, switched_on
from tests.e2e.process.processes import processes_of
from tests.fakes.instrumentl import running_fake
from tests.fakes.provider import Reply, ToolCall

pytestmark = pytest.mark.real

KEYS = {
    f"x-openpersona-{name}-api-key": f"canary-{name}-key-7261"
    for name in ("openai", "anthropic", "openrouter", "compatible")
}
SETTINGS = {"api_key_id": "canary-setting-id-7261", "api_private_key": "canary-setting-private-7261"}
CANARIES = [*KEYS.values(), *SETTINGS.values()]
FORMS = [form for canary in CANARIES for form in (canary, base64.b64encode(canary.encode()).decode().rstrip("="))]


class Kept(logging.Handler):
    """Every log line of the process, whatever its level."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture(scope="module")
def logs() -> Iterator[Kept]:
    kept, root = Kept(), logging.getLogger()
    level = root.level
    root.addHandler(kept)
    root.setLevel(logging.DEBUG)
    yield kept
    root.removeHandler(kept)
    root.setLevel(level)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory, logs: Kept) -> AsyncIterator[Deployment]:
    folder = Path(instrumentl.__file__).parent
    async with running_fake({}) as fake:
        upstream = Upstream(fake.url, title=TITLE, policy=POLICY, advice=ADVICE)
        shipped = {"instrumentl": Shipped(instrumentl.build_app(upstream), folder)}
        options = {"integrations": shipped, "providers": ("openai", "anthropic", "openrouter", "compatible")}
        tmp = tmp_path_factory.mktemp("canary")
        async with running_deployment(tmp, model="compatible/m1", provider_retries=0, **options) as running:  # type: ignore[arg-type]
            yield running


def headers() -> dict[str, str]:
    settings = base64.b64encode(json.dumps({"instrumentl": SETTINGS}).encode()).decode()
    return {**KEYS, "x-openpersona-integrations-b64": settings}


def found_in_files(home: Path) -> list[str]:
    hits = []
    for file in home.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            hits += [f"{file.name}: {form[:14]}" for form in FORMS if form.encode() in content]
    return hits


def found_in_processes(home: Path) -> list[str]:
    hits = []
    for pid in processes_of(home / "runners"):
        for name in ("environ", "cmdline"):
            content = Path(f"/proc/{pid}/{name}").read_bytes()
            hits += [f"{name} of {pid}: {form[:14]}" for form in FORMS if form.encode() in content]
    return hits


def found_in(text: str) -> list[str]:
    return [form[:14] for form in FORMS if form in text]


def test_the_search_finds_one(tmp_path: Path, logs: Kept) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "planted.db").write_bytes(b"\0" + CANARIES[0].encode() + b"\0")
    assert len(found_in_files(tmp_path)) == 1
    logging.getLogger("planted").debug("a key: %s", CANARIES[1])
    assert len(found_in("\n".join(logs.lines))) == 1
    logs.lines.clear()


async def conversation(deployment: Deployment) -> str:
    """Turns with tools, and one with each kind of failure; everything that the client received."""
    echo = {"error": {"message": "bad key {key}", "key": "{key}"}}
    scripts: list[list[Reply | str]] = [
        [Reply(tools=[ToolCall("instrumentl_check_connection", {})]), "hello"],
        [Reply(tools=[ToolCall("instrumentl_list_projects", {})]), Reply(reasoning=["hm"], text=["done"])],
        [Reply(status=401, body=echo, headers={"x-echo": "{key}"})],
        [Reply(status=500, body="<html>{key}</html>")],
        [Reply(status=429, body=echo)],
        [Reply(text=["a", "b"], cut="abort")],
    ]
    received = []
    for script in scripts:
        deployment.provider.script(script)
        for stream in (True, False):
            answer = await deployment.chat("go", chat="c", meta=switched_on("instrumentl"), stream=stream, **headers())
            received.append(json.dumps([answer.events, answer.body]))
    bad = {**headers(), "x-openpersona-meta-b64": "%"}
    received.append(json.dumps((await deployment.chat("go", **bad)).body))
    return "\n".join(received)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.requirement("secrets:canary")
async def test_no_secret_is_found_anywhere(deployment: Deployment, logs: Kept) -> None:
    received = await conversation(deployment)
    used = {request.key for request in deployment.provider.requests}
    assert used == {KEYS["x-openpersona-compatible-api-key"]}, (
        "the conversation has to use the keys that are looked for"
    )
    (live,) = deployment.services.turns.pool.live
    config = await live.client._call("GET", "/config")
    pages = [json.dumps(config)]
    async with httpx.AsyncClient() as client:
        for base, path, key in (
            (deployment.hub_url, "/status", SERVICE_KEY),
            (deployment.hub_url, "/", SERVICE_KEY),
            (deployment.hub_url, "/metrics", SERVICE_KEY),
            (deployment.hub_url, "/api/v1/integrations", SERVICE_KEY),
            (deployment.url, "/v1/models", API_KEY),
            (deployment.url, "/metrics", API_KEY),
        ):
            response = await client.get(base + path, headers={"authorization": f"Bearer {key}"})
            assert response.status_code == 200, path
            pages.append(response.text)
    assert found_in(received) == []
    assert found_in("\n".join(pages)) == []
    assert found_in_files(deployment.home.parent) == []
    assert found_in_processes(deployment.home) == []
    assert len(processes_of(deployment.home / "runners")) >= 2
    assert len(logs.lines) > 100
    assert found_in("\n".join(logs.lines)) == []
    assert found_in(str(os.environ)) == []
