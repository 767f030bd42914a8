"""The whole stack, with the real Open WebUI, in containers: it comes up, is shut tight, and a chat gets through.

One stack serves all tests of this file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from deploy import backup, restore
from deploy.state import GIVEN, MADE, read_env
from openwebui.provider_tools import USER_KEYS
from tests.deploy.test_backup import fernet
from tests.e2e.docker.runners import until
from tests.e2e.docker.stack import PLACE, PROVIDER_KEY, ROOT, WHOLE, Stack, docker, run, running_stack
from tests.e2e.process.deployment import switched_on
from tests.fakes.provider import ProviderRequest, Reply, ToolCall

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

GRANTS = "open_persona_integration_grants_gov"
ADMIN = {"name": "Ada", "email": "ada@example.org", "password": "correct-horse-1"}
PORTS = {"OPEN_PERSONA_WEBUI_PORT": 3000, "OPEN_PERSONA_SIDECAR_PORT": 8000, "OPEN_PERSONA_HUB_PORT": 7000}
CHECKLIST = re.compile(r"## When something is wrong.*?```sh\n(.*?)```", re.DOTALL)


def looks_for_grants(request: ProviderRequest) -> Reply:
    """A model that searches where it can, and says what it found."""
    search = next((name for name in request.tool_names if name.endswith("search_opportunities")), "")
    if request.tool_results:
        return Reply(text=[f"found: {request.tool_results[-1][:400]}"])
    if not search:
        return Reply(text=["nothing to search with"])
    return Reply(tools=[ToolCall(search, {"keyword": "health"})])


def if_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


@dataclass
class Admin:
    """Somebody signed in at Open WebUI, by its API."""

    url: str
    client: httpx.AsyncClient

    async def post(self, path: str, body: object) -> Any:
        answer = await self.client.post(f"{self.url}{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(engine: object) -> AsyncIterator[Stack]:
    """Its integrations and templates are copies, to which a test can add."""
    ports = {name: port for name, port in PORTS.items() if if_free(port)}
    with tempfile.TemporaryDirectory(dir=PLACE) as place:
        folders = {"OPEN_PERSONA_MCP_SERVERS_DIR": "mcp_servers", "OPEN_PERSONA_PERSONAS_DIR": "sidecar/personas"}
        env = {variable: str(Path(place) / Path(folder).name) for variable, folder in folders.items()}
        for variable, folder in folders.items():
            shutil.copytree(ROOT / folder, env[variable], ignore=shutil.ignore_patterns("__pycache__"))
        Path(place).chmod(0o755)
        async with running_stack(
            services=WHOLE, script=looks_for_grants, env=env, ports=ports, subnets="10.217.0.0/16"
        ) as running:
            yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin(stack: Stack) -> AsyncIterator[Admin]:
    """The first one who signed up, with a persona that has an integration on."""
    async with httpx.AsyncClient(timeout=180, trust_env=False) as client:
        ada = Admin(stack.webui_url, client)
        account = await ada.post("/api/v1/auths/signup", ADMIN)
        client.cookies.clear()
        client.headers["authorization"] = f"Bearer {account['token']}"
        persona = {
            "id": "grants-desk", "name": "Grants desk", "base_model_id": "open-persona/build", "access_grants": [],
            "params": {"system": "You look for grants."}, "is_active": True,
            "meta": {"description": "", "capabilities": {"builtin_tools": False}, "toolIds": [GRANTS]},
        }  # fmt: skip
        await ada.post("/api/v1/models/create", persona)
        yield ada


async def say(admin: Admin, words: str, *tools: str) -> str:
    """One message to the persona, through Open WebUI; its answer."""
    body = {
        "model": "grants-desk",
        "stream": False,
        "messages": [{"role": "user", "content": words}],
        "tool_ids": tools,
    }
    answer = await admin.post("/api/chat/completions", body)
    return str(answer["choices"][0]["message"]["content"])


async def new(stack: Stack, *words: str) -> None:
    """``open-persona new …``, in the folders of the stack, as an operator of the host does it."""
    env = {name: value for name, value in read_env(stack.env_file).items() if name.endswith("S_DIR")}
    more = ("--url", "https://api.example.org/v1") if words[0] == "integration" else ()
    await run(sys.executable, "-m", "open_persona.cli", "new", *words, *more, "--yes", env=env)


async def seen(stack: Stack, name: str, health: str = "") -> bool:
    """Whether the hub lists an integration, and with that health."""
    answer = await stack.client.get(f"{stack.hub_url}/api/v1/integrations")
    answer.raise_for_status()
    listed = {each["name"]: each["health"] for each in answer.json()["integrations"]}
    return name in listed and health in ("", listed[name])


@pytest.mark.requirement("compose:up")
async def test_all_are_healthy_and_nobody_runs_as_root(stack: Stack) -> None:
    found = await stack.inspect(*(stack.container(name) for name in WHOLE))
    assert {each["Name"]: each["State"]["Health"]["Status"] for each in found} == {
        f"/{stack.container(name)}": "healthy" for name in WHOLE
    }
    for each in found:
        host = each["HostConfig"]
        assert each["Config"]["User"].startswith("1000:"), each["Name"]
        assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == (True, ["ALL"], False), each["Name"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["Memory"] == host["MemorySwap"] > 0 < host["PidsLimit"]
        assert host["NanoCpus"] > 0


@pytest.mark.requirement("compose:up")
async def test_a_chat_through_open_webui_reaches_the_users_runner_and_the_integration(
    stack: Stack, admin: Admin
) -> None:
    answer = await say(admin, "Which grants are there for health?", GRANTS)
    assert answer.startswith("found: "), answer
    assert stack.grants.requests, "Grants.gov was asked"
    asked = stack.provider.requests[-1]
    assert asked.key == PROVIDER_KEY
    assert "You look for grants." in asked.system
    assert await say(admin, "And now without?") == "nothing to search with"
    runners = await stack.runners(running=True)
    assert len(runners) == 1
    assert runners[0]["Config"]["User"] == "1000:1000"
    assert runners[0]["HostConfig"]["ReadonlyRootfs"]
    assert list(runners[0]["NetworkSettings"]["Networks"]) != [f"{stack.prefix}_front"]


@pytest.mark.requirement("compose:folders")
async def test_a_folder_put_among_the_integrations_is_seen_and_used_with_no_restart(stack: Stack) -> None:
    await new(stack, "integration", "weather", "--title", "Weather", "--description", "The weather, by place.")
    await until(lambda: seen(stack, "weather"), within_s=10)
    await until(lambda: seen(stack, "weather", health="healthy"), within_s=120)
    answer = await stack.chat("Hi", user="wim", meta=switched_on("weather"))
    assert answer.status == 200, answer.error
    [offered] = [name for name in stack.provider.requests[-1].tool_names if "weather" in name]
    assert offered.endswith("search_items")
    assert "weather" in await stack.exec("open-persona-sidecar", "open-persona", "status")


@pytest.mark.requirement("compose:secrets")
async def test_no_inspection_shows_a_secret(stack: Stack, admin: Admin) -> None:
    await say(admin, "Hello")
    held = [(stack.state / "secrets" / name).read_text() for name in (*MADE, *GIVEN)]
    containers = [stack.container(name) for name in WHOLE] + [each["Id"] for each in await stack.runners()]
    images = [each["Image"] for each in await stack.inspect(*containers)]
    shown = await docker("inspect", *containers, *dict.fromkeys(images))
    assert shown.count(stack.prefix) > len(WHOLE)
    assert [secret for secret in held if secret and secret in shown] == []
    assert [name for name in (*MADE, *GIVEN) if f'"{name}=' in shown and name != "WEBUI_SECRET_KEY"] == []
    for name in WHOLE:
        logs = await stack.logs(name)
        assert [secret for secret in held if secret and secret in logs] == [], name


@pytest.mark.requirement("compose:hardened")
async def test_ports_are_published_on_loopback_alone(stack: Stack) -> None:
    found = await stack.inspect(*(stack.container(name) for name in WHOLE))
    published = [
        (binding["HostIp"], int(binding["HostPort"]))
        for each in found
        for bindings in (each["NetworkSettings"]["Ports"] or {}).values()
        for binding in bindings or ()
    ]
    assert sorted(published) == sorted(("127.0.0.1", port) for port in stack.ports.values())


@pytest.mark.requirement("compose:checklist")
async def test_the_six_lines_of_the_checklist_work_as_printed(stack: Stack, admin: Admin) -> None:
    await say(admin, "Hello")
    page = (ROOT / "docs" / "how-to" / "run-with-compose.md").read_text()
    found = CHECKLIST.search(page)
    assert found
    version, health, doctor, runners, logs, runner_logs = found[1].splitlines()
    assert '"0.12.4"' in await as_printed(stack, version)
    assert "ok" in await as_printed(stack, health)
    told = await as_printed(stack, f"{doctor} || true")
    assert re.search(r"keys .*set: [^;]*OPEN_PERSONA_DEFAULT_COMPATIBLE_API_KEY", told), told
    assert PROVIDER_KEY not in told
    name = (await stack.runners(running=True))[0]["Name"].removeprefix("/")
    assert name in await as_printed(stack, runners)
    assert "Uvicorn running" in await as_printed(stack, f"timeout 3 {logs} || true")
    assert "opencode" in (await as_printed(stack, f"{runner_logs.replace('<runner>', name)} 2>&1")).lower()


async def as_printed(stack: Stack, line: str) -> str:
    """What a line of the page writes, on the ports of this stack."""
    for variable, port in PORTS.items():
        line = line.replace(f"localhost:{port}/", f"localhost:{stack.ports[variable]}/")
    here = {"COMPOSE_ENV_FILES": str(stack.env_file), "PATH": os.environ["PATH"]}
    return await run("bash", "-c", line, env=here)


@pytest.mark.requirement("compose:down")
async def test_down_takes_the_runners_along_and_up_finds_all_state(stack: Stack, admin: Admin) -> None:
    await say(admin, "Hello")
    assert await stack.runners()
    await stack.compose("down", "-v", "-t", "30", within=180)
    assert await stack.runners() == []
    assert f"{stack.prefix}" not in await docker("network", "ls")
    await new(stack, "persona", "budget-check", "--name", "Budget check", "--description", "Checks a budget.")
    await stack.compose("up", "-d", "--wait", "--no-build", *WHOLE)
    assert await say(admin, "Hello again") == "nothing to search with"
    answer = await stack.chat("Hi", user="wim", model="open-persona/budget-check")
    assert (answer.status, answer.text) == (200, "nothing to search with"), answer.error


@pytest.mark.requirement("backup:valves")
async def test_a_backup_of_the_running_stack_holds_a_key_that_a_user_stored(stack: Stack, admin: Admin) -> None:
    await say(admin, "Hello")
    await admin.post(f"/api/v1/tools/id/{USER_KEYS}/valves/user/update", {"openai_api_key": "sk-stored-by-ada"})
    place = stack.state.with_name(f"{stack.prefix}-restored")
    file = await asyncio.to_thread(backup.main, [str(stack.state) + ".tar.gz", "--env-file", str(stack.env_file)])
    try:
        arguments = [str(file), "--env-file", str(place / "settings"), "--state-dir", str(place / "state")]
        place.mkdir()
        state = await asyncio.to_thread(restore.main, arguments, {})
        with contextlib.closing(sqlite3.connect(state / "open-webui" / "webui.db")) as database:
            [(settings,)] = database.execute("select settings from user").fetchall()
        [token] = re.findall(r"gAAAA[\w=-]+", str(settings))
        assert b"sk-stored-by-ada" in fernet(state).decrypt(token.encode())
        assert "sk-stored-by-ada" not in str(settings)
        with contextlib.closing(sqlite3.connect(state / "data" / "sidecar.db")) as database:
            assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert list((state / "data" / "workspaces").iterdir())
    finally:
        file.unlink()
        shutil.rmtree(place)
