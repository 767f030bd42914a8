"""The doctor in ``docker`` mode: it tries the firewall with a container, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from open_persona.doctor.docker import compose_secrets, docker
from open_persona.doctor.docker_probe import BRIDGE, LABEL
from open_persona.doctor.examination import examine
from open_persona.doctor.findings import Check, Finding
from open_persona.settings import StackSettings
from tests.e2e.docker.engine import Engine
from tests.e2e.docker.firewall import firewall

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[3]
SOCKET = "/var/run/docker.sock"


def settings(tmp_path: Path, **given: object) -> StackSettings:
    return StackSettings.model_validate({"home": tmp_path, "runner_mode": "docker", **given})


async def found(patient: StackSettings, check: Check = docker, **environment: str) -> dict[str, Finding]:
    return {finding.check: finding for finding in await examine(patient, environment, [check])}


def leftovers(engine: Engine) -> str:
    label = ("--filter", f"label={LABEL}", "-q")
    return engine.docker("ps", "-a", *label) + engine.docker("network", "ls", *label)


@pytest.mark.requirement("doctor:firewall")
async def test_without_the_rules_a_runner_gets_in_and_with_them_it_does_not(engine: Engine, tmp_path: Path) -> None:
    patient = settings(tmp_path, runner_image=engine.runner)
    with firewall("oprun-none+"):
        open_host = (await found(patient))["firewall"]
    with firewall(f"{BRIDGE}+"):
        closed_host = (await found(patient))["firewall"]
    assert (open_host.level, "sudo deploy/firewall install" in open_host.action) == ("fail", True)
    assert (closed_host.level, closed_host.message) == (
        "ok",
        "a runner cannot reach this machine (tried with a container)",
    )
    assert leftovers(engine) == ""


@pytest.mark.requirement("doctor:docker")
async def test_docker_and_the_image_are_told(engine: Engine, tmp_path: Path) -> None:
    version = engine.docker("version", "--format", "{{.Server.Version}}")
    there = await found(settings(tmp_path, runner_image=engine.runner))
    assert (there["Docker"].level, version in there["Docker"].message) == ("ok", True)
    assert there["runner image"].level == "ok"
    missing = await found(settings(tmp_path, runner_image="open-persona-none:1"))
    assert (missing["runner image"].level, "Build it" in missing["runner image"].action) == ("fail", True)
    assert "firewall" not in missing


@pytest.mark.requirement("doctor:docker")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_docker_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    gone = await found(settings(tmp_path, docker_host=f"unix://{tmp_path}/none.sock"))
    assert (list(gone), gone["Docker"].level, "OPEN_PERSONA_DOCKER_HOST" in gone["Docker"].action) == (
        ["Docker"],
        "fail",
        True,
    )
    wrong = await found(settings(tmp_path), DOCKER_HOST="ftp://x")
    assert wrong["Docker"].level == "fail"
    assert await found(settings(tmp_path, runner_mode="process")) == {}
    gc.collect()  # the SDK leaves a socket that could not connect to the collector


@pytest.mark.requirement("doctor:firewall")
async def test_where_only_runners_can_be_started_it_says_so_and_fails_nothing(engine: Engine, tmp_path: Path) -> None:
    async with reading_only(tmp_path / "docker.sock"):
        told = await found(settings(tmp_path, runner_image=engine.runner, docker_host=f"unix://{tmp_path}/docker.sock"))
    assert {name: finding.level for name, finding in told.items()} == {
        "Docker": "ok",
        "runner image": "ok",
        "firewall": "ok",
    }
    assert told["firewall"].message.startswith("not tried: only runners can be started from here")


@pytest.mark.requirement("doctor:firewall")
def test_on_another_machine_than_docker_it_says_so(engine: Engine, tmp_path: Path) -> None:
    script = (
        "import asyncio, sys; from open_persona.doctor.docker import docker;"
        "from open_persona.doctor.findings import Patient; from open_persona.settings import StackSettings;"
        f"s = StackSettings(home={str(tmp_path)!r}, runner_mode='docker', runner_image={engine.runner!r});"
        "print(*asyncio.run(docker(Patient(s, {}, None, None))), sep='\\n')"
    )
    command = ["unshare", "--net", sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True)
    assert "not tried: Docker runs on another machine" in done.stdout
    assert leftovers(engine) == ""


@pytest.mark.requirement("doctor:firewall")
async def test_no_room_in_the_range_is_told(engine: Engine, tmp_path: Path) -> None:
    engine.docker("network", "create", "--subnet", "10.212.7.0/28", "doors-full")
    try:
        told = await found(settings(tmp_path, runner_image=engine.runner, runner_subnets="10.212.7.0/28"))
    finally:
        engine.docker("network", "rm", "doors-full")
    assert (told["firewall"].level, "OPEN_PERSONA_RUNNER_SUBNETS" in told["firewall"].message) == ("warn", True)


@pytest.mark.requirement("doctor:firewall")
async def test_what_a_killed_doctor_left_goes_and_what_another_uses_stays(engine: Engine, tmp_path: Path) -> None:
    made = int(time.time())
    old, new = f"{LABEL}={made - 3600}", f"{LABEL}={made}"
    engine.docker("network", "create", "--internal", "--label", old, "doors-old")
    engine.docker("network", "create", "--internal", "--label", new, "doors-new")
    try:
        engine.docker("run", "-d", "--label", old, "--network", "doors-old", engine.runner, "sleep", "600")
        await found(settings(tmp_path, runner_image=engine.runner))
        assert engine.docker("network", "ls", "--filter", f"label={LABEL}", "--format", "{{.Name}}") == "doors-new"
        assert engine.docker("ps", "-aq", "--filter", f"label={LABEL}") == ""
    finally:
        engine.docker("network", "rm", "doors-new")


@pytest.mark.requirement("doctor:keys-of-compose")
async def test_secrets_of_compose_are_named_and_never_shown(tmp_path: Path) -> None:
    for name, value in (("OPEN_PERSONA_TOKEN_KEY", "canary"), ("OPEN_PERSONA_DEFAULT_OPENAI_API_KEY", "")):
        (tmp_path / name).write_text(value)

    async def check(patient: object) -> list[Finding]:
        return list(await compose_secrets(None, tmp_path))  # type: ignore[arg-type]

    told = (await found(settings(tmp_path), check))["keys"]
    assert told.message == "set: OPEN_PERSONA_TOKEN_KEY; not set: OPEN_PERSONA_DEFAULT_OPENAI_API_KEY"
    assert "canary" not in json.dumps(told.model_dump())


@asynccontextmanager
async def reading_only(path: Path) -> AsyncIterator[None]:
    """Docker's socket for reading alone, as one that lets only runners be made looks to the doctor."""
    upstream = aiohttp.ClientSession(connector=aiohttp.UnixConnector(SOCKET))

    async def passed(request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            return web.json_response({"message": "only runners and their networks"}, status=403)
        async with upstream.get(f"http://docker{request.rel_url}") as answer:
            return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", passed)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(path)).start()
        yield
    finally:
        await runner.cleanup()
        await upstream.close()
        await asyncio.sleep(0)
