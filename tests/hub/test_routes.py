"""The HTTP API over real HTTP: shapes, ETag, key, Host, Origin, events."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from pydantic import SecretStr

from hub.app import create_app, open_hub
from hub.board import Board
from hub.calls_log import CallsLog
from hub.catalog import Catalog
from hub.errors import TooManyListenersError
from hub.events import EventStreams
from hub.routes import BOOT_HEADER
from hub.settings import HubSettings
from hub.wire import CatalogView, HistoryView, IntegrationView, ProbeResult, StatusView
from tests.fakes.asgi_server import serve_app
from tests.hub.conftest import WriteManifest
from tests.hub.servers import Gated, free_address, good_app, yaml_at

KEY = "the-service-key"
BEARER = {"Authorization": f"Bearer {KEY}"}


class Hub:
    """A hub that serves, with one client."""

    def __init__(self, url: str, client: aiohttp.ClientSession) -> None:
        self.url = url
        self.client = client

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str, Mapping[str, str]]:
        return await self._ask("GET", path, headers)

    async def post(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str, Mapping[str, str]]:
        return await self._ask("POST", path, headers)

    async def ready(self) -> None:
        async with asyncio.timeout(10):
            while (await self.get("/readyz"))[0] != 200:
                await asyncio.sleep(0.02)

    async def _ask(
        self, method: str, path: str, headers: Mapping[str, str] | None
    ) -> tuple[int, str, Mapping[str, str]]:
        async with self.client.request(method, self.url + path, headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.text(), answer.headers


@asynccontextmanager
async def hub_at(client: aiohttp.ClientSession, home: Path, servers: Path, **fields: object) -> AsyncIterator[Hub]:
    settings = HubSettings.model_validate(
        {"home": home / "home", "mcp_servers_dir": servers, "service_key": SecretStr(KEY), **fields}
    )
    async with open_hub(settings) as running, serve_app(create_app(running)) as url:
        yield Hub(url, client)


@pytest.fixture
async def hub(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path, write_manifest: WriteManifest
) -> AsyncIterator[Hub]:
    """One healthy integration, one down, one invalid, one disabled."""
    async with serve_app(good_app()) as good:
        write_manifest("good", yaml_at(good, "good"))
        write_manifest("dead", yaml_at(await free_address(), "dead", probe="{failures_before_down: 1}"))
        write_manifest("broken", "manifest_version: 1\nname: broken\nport: 7\n")
        write_manifest("off", yaml_at(good, "off"))
        async with hub_at(client, tmp_path, servers_dir, hub_disabled="off") as running:
            await running.ready()
            yield running


@pytest.mark.requirement("hub:status")
async def test_status_has_exactly_what_the_design_says(hub: Hub) -> None:
    status, body, _ = await hub.get("/status")
    data = json.loads(body)
    assert (status, set(data)) == (200, {"revision", "counts", "integrations"})
    assert data["counts"] == {"starting": 0, "healthy": 1, "degraded": 0, "down": 1, "invalid": 1, "disabled": 1}
    assert set(data["integrations"][0]) == {
        "name", "title", "admin_state", "health", "reason", "detail", "action", "faults", "latency_ms",
        "latency_p50_ms", "latency_p95_ms", "tools", "tool_fingerprint", "pin", "tools_changed_at", "changed_tools",
        "protocol", "last_ok_at", "last_change_at", "uptime_24h",
    }  # fmt: skip
    assert set(data["integrations"][2]["tools"][0]) == {"name", "risk", "state", "fingerprint", "tokens"}
    by_name = {one.name: one for one in StatusView.model_validate(data).integrations}
    assert (by_name["good"].health, by_name["good"].reason, by_name["good"].action) == ("healthy", None, "")
    assert (by_name["good"].protocol, by_name["good"].uptime_24h) == ("2026-07-28", 1.0)
    assert [(tool.name, tool.risk, tool.state) for tool in by_name["good"].tools] == [("echo", "read", "approved")]
    assert (by_name["dead"].reason, by_name["dead"].uptime_24h) == ("refused", 0.0)
    assert "broken/manifest.yaml:" in by_name["broken"].action


@pytest.mark.requirement("hub:catalog-etag")
async def test_the_catalogs_etag_is_its_revision(hub: Hub) -> None:
    status, body, headers = await hub.get("/api/v1/integrations")
    view = CatalogView.model_validate_json(body)
    assert (status, headers["ETag"], headers[BOOT_HEADER]) == (200, f'"{view.revision}"', view.boot_id)
    assert [one.name for one in view.integrations] == ["broken", "dead", "good", "off"]
    assert [one.name for one in view.integrations if one.answers] == ["good"]
    for tag in (headers["ETag"], f'"x", W/{headers["ETag"]}', "*"):
        status, body, again = await hub.get("/api/v1/integrations", {"If-None-Match": tag})
        assert (status, body, again["ETag"], again[BOOT_HEADER]) == (304, "", headers["ETag"], view.boot_id)
    assert (await hub.get("/api/v1/integrations", {"If-None-Match": '"other"'}))[0] == 200


async def test_measurements_do_not_move_the_revision(hub: Hub) -> None:
    before = (await hub.get("/api/v1/integrations"))[2]["ETag"]
    assert (await hub.post("/api/v1/integrations/good/probe", BEARER))[0] == 200
    assert (await hub.get("/api/v1/integrations"))[2]["ETag"] == before


async def test_one_integration_and_its_history(hub: Hub) -> None:
    view = IntegrationView.model_validate_json((await hub.get("/api/v1/integrations/good"))[1])
    assert (view.name, view.health, view.tools[0].description) == ("good", "healthy", "Say it again.")
    await hub.post("/api/v1/integrations/good/probe", BEARER)
    history = HistoryView.model_validate_json((await hub.get("/api/v1/integrations/good/history?limit=1"))[1])
    assert (history.name, [entry.ok for entry in history.entries]) == ("good", [True])
    for limit in ("0", "-1", "x", "5001", "9" * 5000, "٣"):
        assert (await hub.get(f"/api/v1/integrations/good/history?limit={limit}"))[0] == 400


@pytest.mark.parametrize("path", ["", "/history"])
async def test_an_unknown_name_says_which_are_known(hub: Hub, path: str) -> None:
    status, body, _ = await hub.get(f"/api/v1/integrations/none{path}")
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (404, "unknown_integration")
    assert "broken, dead, good, off" in error["action"]


async def test_an_unknown_route_is_json_too(hub: Hub) -> None:
    status, body, _ = await hub.get("/nope")
    assert (status, json.loads(body)["error"]["code"]) == (404, "http_error")


@pytest.mark.requirement("hub:check-now")
async def test_check_now_answers_the_stored_result(hub: Hub) -> None:
    status, body, _ = await hub.post("/api/v1/integrations/good/probe", BEARER)
    result = ProbeResult.model_validate_json(body)
    history = HistoryView.model_validate_json((await hub.get("/api/v1/integrations/good/history?limit=1"))[1])
    assert (status, result.ok, result.stage) == (200, True, "done")
    assert abs((history.entries[0].at - result.at).total_seconds()) < 0.01
    for name in ("broken", "off"):
        assert (await hub.post(f"/api/v1/integrations/{name}/probe", BEARER))[0] == 409
    assert (await hub.post("/api/v1/integrations/none/probe", BEARER))[0] == 404


@pytest.mark.requirement("hub:state-changing-routes")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": f"Basic {base64.b64encode(f'x:{KEY}'.encode()).decode()}"}, 401),
        ({**BEARER, "Origin": "https://evil.example"}, 403),
        ({**BEARER, "Origin": "null"}, 403),
        ({**BEARER, "Host": "evil.example"}, 421),
        ({**BEARER, "Host": "127.0.0.1.evil.example:7000"}, 421),
        ({**BEARER, "Host": "x@127.0.0.1:[]"}, 421),
        ({**BEARER, "Host": ""}, 400),
    ],
)
async def test_changing_anything_needs_key_host_and_origin(hub: Hub, headers: dict[str, str], status: int) -> None:
    answered, body, _ = await hub.post("/api/v1/integrations/good/probe", headers)
    assert answered == status
    assert KEY not in body
    assert json.loads(body)["error"]["action"]


async def test_a_page_of_the_same_origin_may(hub: Hub) -> None:
    assert (await hub.post("/api/v1/integrations/good/probe", {**BEARER, "Origin": hub.url}))[0] == 200


async def test_an_unknown_host_is_refused_everywhere_but_at_the_hubs_own_health(hub: Hub) -> None:
    evil = {"Host": "evil.example"}
    for path in ("/", "/status", "/metrics", "/api/v1/integrations", "/api/v1/events"):
        assert (await hub.get(path, evil))[0] == 421
    assert (await hub.get("/healthz", evil))[0] == 200


@pytest.mark.requirement("hub:pages-beyond-loopback")
async def test_beyond_loopback_the_pages_need_the_key(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path
) -> None:
    fields = {"hub_host": "0.0.0.0", "hub_allowed_hosts": "hub.example, other:7000"}
    async with hub_at(client, tmp_path, servers_dir, **fields) as hub:
        basic = {"Authorization": f"Basic {base64.b64encode(f'me:{KEY}'.encode()).decode()}"}
        for path in ("/", "/status"):
            status, _, headers = await hub.get(path)
            assert (status, headers["WWW-Authenticate"].split()[0]) == (401, "Basic")
            assert (await hub.get(path, {"Authorization": "Basic !"}))[0] == 401
            assert (await hub.get(path, BEARER))[0] == 200
            assert (await hub.get(path, {**basic, "Host": "hub.example:7000"}))[0] == 200
            assert (await hub.get(path, {**basic, "Host": "other:7001"}))[0] == 421
        assert (await hub.get("/api/v1/integrations"))[0] == 200
        assert (await hub.get("/readyz"))[0] == 200


async def test_the_hub_is_ready_when_every_one_was_checked(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path, write_manifest: WriteManifest
) -> None:
    server = Gated()
    async with serve_app(server) as url:
        write_manifest("slow", yaml_at(url, "slow"))
        async with hub_at(client, tmp_path, servers_dir) as hub:
            status, body, _ = await hub.get("/readyz")
            assert (status, json.loads(body)) == (503, {"status": "waiting", "waiting_for": ["slow"]})
            assert (await hub.get("/healthz"))[0] == 200
            server.release.set()
            await hub.ready()


@pytest.mark.requirement("hub:events")
async def test_the_event_stream_tells_of_each_revision_and_ends_with_the_hub(
    client: aiohttp.ClientSession, tmp_path: Path, servers_dir: Path, write_manifest: WriteManifest
) -> None:
    server = Gated()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(10))
        write_manifest("good", yaml_at(await stack.enter_async_context(serve_app(server)), "good"))
        settings = HubSettings.model_validate(
            {"home": tmp_path, "mcp_servers_dir": servers_dir, "service_key": SecretStr(KEY)}
        )
        hub = await stack.enter_async_context(open_hub(settings))
        url = await stack.enter_async_context(serve_app(create_app(hub)))
        stream = await stack.enter_async_context(client.get(f"{url}/api/v1/events"))
        assert stream.content_type == "text/event-stream"
        first = await _event(stream)
        server.release.set()
        second = await _event(stream)
        assert first["revision"] != second["revision"] == hub.board.revision
        assert second["boot_id"] == first["boot_id"] == hub.board.boot_id
        hub.events.close()
        assert (await stream.content.read()).strip() == b""


async def test_the_event_stream_keeps_quiet_connections_alive(tmp_path: Path) -> None:
    board = Board(Catalog(), "boot", disabled=frozenset(), mcp_host="h")
    streams = EventStreams(board, CallsLog(), heartbeat_s=0.01, max_listeners=1)
    listening = streams.listen()
    assert (await anext(listening)).startswith(b"event: revision")
    assert await anext(listening) == b": still here\n\n"
    with pytest.raises(TooManyListenersError):
        streams.admit()
    streams.close()
    assert [chunk async for chunk in listening] == []
    streams.admit()


async def _event(stream: aiohttp.ClientResponse) -> dict[str, str]:
    while True:
        line = await stream.content.readline()
        if line.startswith(b"data: "):
            data: dict[str, str] = json.loads(line[6:])
            return data


@pytest.mark.requirement("hub:metrics")
async def test_metrics_have_bounded_labels(hub: Hub) -> None:
    for name in ("none", "x" * 50):
        await hub.post(f"/api/v1/integrations/{name}/probe", BEARER)
    status, body, headers = await hub.get("/metrics")
    assert (status, headers["Content-Type"].startswith("text/plain")) == (200, True)
    assert 'open_persona_hub_health{health="down",integration="dead"} 1.0' in body
    assert 'open_persona_hub_probes_total{integration="good",outcome="ok"}' in body
    assert 'open_persona_hub_probes_total{integration="dead",outcome="refused"}' in body
    labels = {line.split('integration="')[1].split('"')[0] for line in body.splitlines() if 'integration="' in line}
    assert labels == {"good", "dead", "broken", "off"}
    assert KEY not in body
