"""The demo's own set-up: free ports, nothing of the user's, and the question whether Grants.gov can be asked."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from mcp_servers.launcher import scan
from open_persona.demo.reachability import grants_gov_answers
from open_persona.demo.walkthrough import clean, demo_settings, own_folder
from open_persona.errors import OpenPersonaError, ServiceFailed
from open_persona.ports import free_ports, is_taken
from open_persona.settings import INTEGRATIONS
from tests.fakes.asgi_server import serve_app


@pytest.mark.requirement("demo:own_ports_and_home")
def test_every_port_is_free_and_every_integration_is_there(tmp_path: Path) -> None:
    settings = demo_settings(tmp_path)
    found = scan(settings.mcp_servers_dir)
    assert found.problems == {}
    assert set(found.specs) == set(scan(INTEGRATIONS).specs)
    ports = [settings.hub_port, settings.sidecar_port, settings.demo_port, settings.demo_upstream_port]
    ports += [spec.port for spec in found.specs.values()]
    assert len(set(ports)) == len(ports)
    assert not any(is_taken("127.0.0.1", port) for port in ports)


@pytest.mark.requirement("demo:failure_keeps_logs")
@pytest.mark.parametrize("started", [True, False])
def test_a_failed_demo_keeps_its_logs_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, started: bool
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(OpenPersonaError) as caught, own_folder() as folder:
        if started:
            (folder / "home" / "logs").mkdir(parents=True)
        raise ServiceFailed("It broke.")
    assert (str(folder) in str(caught.value)) is started
    assert folder.exists() is started


def test_a_demo_that_is_stopped_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), own_folder() as folder:
        (folder / "home" / "logs").mkdir(parents=True)
        raise KeyboardInterrupt
    assert not folder.exists()


@pytest.mark.requirement("demo:no_user_keys")
def test_no_setting_of_the_users_reaches_the_demo() -> None:
    environment = {"PATH": "/bin", "OPEN_PERSONA_DEFAULT_OPENAI_API_KEY": "sk", "OPEN_PERSONA_OPENCODE_BIN": "/o"}
    assert clean(environment) == {"PATH": "/bin", "OPEN_PERSONA_OPENCODE_BIN": "/o"}


@pytest.mark.parametrize(("status", "reachable"), [(200, True), (403, False)])
async def test_grants_gov_is_asked_for_a_search_without_rows(status: int, *, reachable: bool) -> None:
    asked: list[object] = []

    async def search(request: Request) -> JSONResponse:
        asked.append((await request.json())["rows"])
        return JSONResponse({"errorcode": 0}, status)

    async with serve_app(Starlette(routes=[Route("/search2", search, methods=["POST"])])) as url:
        assert await grants_gov_answers(url) is reachable
    assert asked == [0]


async def test_nobody_there_is_no() -> None:
    [port] = free_ports(1)
    assert not await grants_gov_answers(f"http://127.0.0.1:{port}")
