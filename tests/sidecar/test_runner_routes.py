"""The operator's routes for runners, and the command that asks them, against the sidecar itself."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from rich.console import Console

from open_persona import runners as command
from open_persona.doctor.findings import Patient
from open_persona.doctor.runners import runners as doctor_runners
from open_persona.errors import BadArgument, ServiceUnreachable
from open_persona.secrets import Secrets
from open_persona.settings import StackSettings
from open_persona.sidecar_api import SidecarApi
from sidecar import services
from sidecar.app import create_app
from sidecar.runners.pool import RunnerPool
from sidecar.settings import Settings
from tests.fakes.asgi_server import serve_app
from tests.sidecar.runners.engine_double import CONFIG, SIG, DoubleMode, Engine, Opencode, until

ANN = "a" * 16
NAME = f"open-persona-runner-{ANN}-{SIG}"
KEY = {"authorization": "Bearer api-key"}
ROUTE = "/v1/open-persona/runners"


@asynccontextmanager
async def sidecar(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[httpx.AsyncClient, RunnerPool, Engine]]:
    async with serve_app(Opencode().app()) as url:
        engine = Engine(url)
        monkeypatch.setattr(services, "_mode", lambda *_: DoubleMode(engine))
        settings = Settings(
            home=home,
            sidecar_api_key=SecretStr("api-key"),
            service_key=SecretStr("service-key"),
            token_key=SecretStr("token-key"),
            hub_url="http://127.0.0.1:9",
        )
        app = create_app(settings)
        async with serve_app(app) as served, httpx.AsyncClient(base_url=served, trust_env=False) as client:
            yield client, app.state.services.turns.pool, engine


def quiet(line: str, *, done: bool = False) -> None:
    """What a runner says at its start is not looked at here."""


async def hold(pool: RunnerPool, gate: asyncio.Event) -> None:
    async with pool.lease(ANN, SIG, CONFIG, quiet):
        await gate.wait()


@pytest.mark.requirement("runner:operated")
async def test_runners_are_for_the_key_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with sidecar(tmp_path, monkeypatch) as (client, _, _engine):
        for method, path in (
            ("GET", ""),
            ("GET", f"/{NAME}/logs"),
            ("POST", f"/{NAME}/restart"),
            ("DELETE", f"/{NAME}"),
        ):
            assert (await client.request(method, ROUTE + path)).status_code == 401


@pytest.mark.requirement("runner:operated")
async def test_a_runner_is_listed_read_and_never_ended_in_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sidecar(tmp_path, monkeypatch) as (client, pool, engine):
        client.headers.update(KEY)
        assert (await client.get(ROUTE)).json() == {"runners": []}
        engine.gates["start"] = asyncio.Event()
        gate = asyncio.Event()
        turn = asyncio.create_task(hold(pool, gate))
        await until(lambda: engine.calls["start"] == 1)
        (starting,) = (await client.get(ROUTE)).json()["runners"]
        assert (starting["name"], starting["state"]) == (NAME, "starting")
        engine.gates["start"].set()
        await until(lambda: len(pool.live) == 1 and pool.live[0].turns == 1)
        (shown,) = (await client.get(ROUTE)).json()["runners"]
        since = shown.pop("since")
        assert isinstance(since, int)
        assert shown == {"name": NAME, "user": ANN, "state": "in turn", "turns": 1, "idle_s": 0}
        assert (await client.get(f"{ROUTE}/{NAME}/logs", params={"lines": 3})).text == f"{NAME}: 3"
        for lines in ("0", "x", "99999", "1.5"):
            refused = await client.get(f"{ROUTE}/{NAME}/logs", params={"lines": lines})
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, "lines")
        for method, path in (("POST", f"/{NAME}/restart"), ("DELETE", f"/{NAME}")):
            assert (await client.request(method, ROUTE + path)).status_code == 409
        forced = await client.delete(f"{ROUTE}/{NAME}", params={"force": "true"})
        assert forced.json() == {"name": NAME, "stopped": True}
        gate.set()
        await turn
        for method, path in (("POST", f"/{NAME}/restart"), ("DELETE", f"/{NAME}")):
            assert (await client.request(method, ROUTE + path)).status_code == 404


@pytest.mark.requirement("runner:operated")
async def test_the_command_lists_reads_restarts_and_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with sidecar(tmp_path, monkeypatch) as (client, pool, engine):
        api = SidecarApi(str(client.base_url).rstrip("/"), client, SecretStr("api-key"))
        paper = io.StringIO()
        out = Console(file=paper, width=140)
        await command.ls(api, out, as_json=False)
        assert "No runner is up" in paper.getvalue()
        gate = asyncio.Event()
        turn = asyncio.create_task(hold(pool, gate))
        await until(lambda: len(pool.live) == 1 and pool.live[0].turns == 1)
        await command.ls(api, out, as_json=False)
        assert NAME in paper.getvalue()
        assert "in turn" in paper.getvalue()
        assert await command.stop(api, out, [NAME], every=False, force=False) == 1
        assert "A turn runs" in paper.getvalue()
        gate.set()
        await turn
        paper.truncate(0)
        paper.seek(0)
        await command.ls(api, out, as_json=True)
        assert json.loads(paper.getvalue())[0]["state"] == "running"
        await command.logs(api, NAME, 7)
        assert capsys.readouterr().out == f"{NAME}: 7"
        assert await command.restart(api, out, [], every=True, force=False) == 0
        assert engine.calls["start"] == 2
        assert await command.stop(api, out, [NAME], every=False, force=False) == 0
        assert engine.there == {}
        with pytest.raises(ServiceUnreachable, match="There is no runner"):
            await api.ask("DELETE", f"{ROUTE}/{NAME}")
        for names, every in (([], False), ([NAME], True)):
            with pytest.raises(BadArgument, match="--all"):
                await command.stop(api, out, names, every=every, force=False)
        with pytest.raises(BadArgument, match="not the name"):
            await command.logs(api, "../users", 5)


@pytest.mark.requirement("runner:operated")
async def test_the_doctor_asks_the_sidecar_where_runners_are_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sidecar(tmp_path, monkeypatch) as (client, pool, _):
        settings = StackSettings.model_validate({"home": tmp_path, "sidecar_port": client.base_url.port})
        held = Secrets(*(SecretStr(name) for name in ("api-key", "service-key", "token-key")))
        patient = Patient(settings, {"OPEN_PERSONA_RUNNER_MODE": "docker"}, client, held)
        (none,) = await doctor_runners(patient)
        assert (none.level, "no runner" in none.message) == ("ok", True)
        gate = asyncio.Event()
        gate.set()
        await hold(pool, gate)
        (one,) = await doctor_runners(patient)
        assert (one.level, one.check) == ("ok", f"runner {ANN}-{SIG}")
        assert "running" in one.message
