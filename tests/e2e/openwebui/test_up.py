"""``open-persona up --webui``, as a person runs it, with the real Open WebUI."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from open_persona.demo.walkthrough import demo_settings
from open_persona.ports import free_ports
from open_persona.secrets import load_secrets
from open_persona.settings import StackSettings
from open_persona.webui.pins import VERSION
from tests.e2e.process.processes import command_of, environment_of, processes_of

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("open_webui_program")]
READY_S = 300
STOP_S = 40
WITHHELD = ("service_key", "token_key")


@dataclass
class Up:
    """The running command, and what it has said so far."""

    process: Process
    settings: StackSettings
    environment: dict[str, str] = field(repr=False)
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    async def until(self, words: str) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(READY_S):
            while line := await self.process.stdout.readline():
                self.lines.append(line.decode().rstrip())
                if words in self.lines[-1]:
                    return
        raise AssertionError(self.text)

    async def doctor(self) -> dict[str, tuple[str, str]]:
        """What the doctor finds: check to level and message."""
        process = await asyncio.create_subprocess_exec(
            *(str(Path(sys.executable).with_name("python")), "-m", "open_persona.cli", "doctor", "--json"),
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            said, _ = await process.communicate()
        return {found["check"]: (found["level"], found["message"]) for found in json.loads(said)}

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(STOP_S):
            assert self.process.stdout is not None
            self.lines += (await self.process.stdout.read()).decode().splitlines()
            return await self.process.wait()


def own_settings(folder: Path) -> StackSettings:
    """A home and ports of the test's own."""
    [port] = free_ports(1)
    return demo_settings(folder).model_copy(update={"webui_port": port})


@asynccontextmanager
async def running_up(settings: StackSettings, **given: str) -> AsyncIterator[Up]:
    """The command on these settings; killed at the end if it still runs."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(settings.home.parent),
        "OPEN_PERSONA_HOME": str(settings.home),
        "OPEN_PERSONA_DEMO": "1",
        "OPEN_PERSONA_MCP_SERVERS_DIR": str(settings.mcp_servers_dir),
        "OPEN_PERSONA_HUB_PORT": str(settings.hub_port),
        "OPEN_PERSONA_SIDECAR_PORT": str(settings.sidecar_port),
        "OPEN_PERSONA_DEMO_PORT": str(settings.demo_port),
        "OPEN_PERSONA_DEMO_UPSTREAM_PORT": str(settings.demo_upstream_port),
        "OPEN_PERSONA_WEBUI_PORT": str(settings.webui_port),
        **given,
    }
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("python")), "-m", "open_persona.cli", "up", "--webui"),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Up(process, settings, environment)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def open_webui_of(settings: StackSettings) -> int:
    """The process of Open WebUI itself."""
    [pid] = [pid for pid in processes_of(settings.home) if "open-webui serve" in command_of(pid)]
    return pid


@pytest.mark.requirement("webui:up")
async def test_it_answers_has_only_the_keys_it_needs_and_leaves_nothing(tmp_path: Path) -> None:
    async with running_up(own_settings(tmp_path)) as up, httpx.AsyncClient(trust_env=False, timeout=10) as http:
        await up.until("Stop: Ctrl-C")
        url = up.settings.webui
        assert f"Open WebUI: {url}" in up.text
        assert "the first one who signs up is the admin" in up.text
        assert "OPEN_PERSONA_PROCESS_SHARED=1" in up.text
        assert (await http.get(f"{url}/health")).status_code == 200
        assert (await http.get(f"{url}/api/version")).json()["version"] == VERSION

        told = environment_of(open_webui_of(up.settings))
        secrets = load_secrets(up.settings.home, {})
        assert secrets is not None
        assert not [name for name in WITHHELD if getattr(secrets, name).get_secret_value() in told.values()]
        assert told["OPEN_PERSONA_SIDECAR_API_KEY"] == secrets.sidecar_api_key.get_secret_value()
        assert (up.settings.home / "webui" / "webui.db").exists()
        await _examined(up, http)

        assert await up.stop() == 130, up.text
    assert processes_of(up.settings.home) == []


async def _examined(up: Up, http: httpx.AsyncClient) -> None:
    """The doctor's half of the checklist, with one user who has a key."""
    url = up.settings.webui
    ada = {"name": "Ada", "email": "ada@example.org", "password": "a long enough password"}
    token = (await http.post(f"{url}/api/v1/auths/signup", json=ada)).json()["token"]
    keys = f"{url}/api/v1/tools/id/open_persona_provider_keys/valves/user/update"
    bearer = {"Authorization": f"Bearer {token}"}
    (await http.post(keys, json={"openai_api_key": "sk-canary-of-ada"}, headers=bearer)).raise_for_status()
    await _attached(http, url, bearer)
    found = await up.doctor()
    assert found["Open WebUI"] == ("ok", f"{VERSION} answers at {url}")
    assert found["Open WebUI patch"] == ("ok", "is loaded")
    assert found["Open WebUI seed"][0] == "ok"
    integrations = len(list(up.settings.mcp_servers_dir.glob("*/manifest.yaml")))
    assert found["Open WebUI tools"] == ("ok", f"the two for provider keys, and {integrations} of integrations")
    assert found["keys of Ada"] == ("ok", "openai")
    assert "sk-canary" not in str(found)


async def _attached(http: httpx.AsyncClient, url: str, bearer: dict[str, str]) -> None:
    """A file that a user attaches is read here, and no provider but the sidecar is connected."""
    file = {"file": ("notes.txt", b"Due on the first of May.", "text/plain")}
    sent = await http.post(f"{url}/api/v1/files/?process_in_background=false", files=file, headers=bearer)
    told = await http.get(f"{url}/api/v1/files/{sent.json()['id']}/process/status", headers=bearer)
    assert told.json()["status"] == "completed"
    connected = (await http.get(f"{url}/openai/config", headers=bearer)).json()["OPENAI_API_BASE_URLS"]
    assert len(connected) == 1
    assert "api.openai.com" not in connected[0]


ADMIN = {"WEBUI_ADMIN_EMAIL": "admin@example.org", "WEBUI_ADMIN_PASSWORD": "a long enough password"}


@pytest.mark.requirement("webui:up")
async def test_an_admin_of_the_environment_signs_in_and_stays_so_after_a_restart(tmp_path: Path) -> None:
    settings = own_settings(tmp_path)
    async with running_up(settings, **ADMIN) as up, httpx.AsyncClient(trust_env=False, timeout=10) as http:
        await up.until("Stop: Ctrl-C")
        assert "signs up" not in up.text
        sign_in = {"email": ADMIN["WEBUI_ADMIN_EMAIL"], "password": ADMIN["WEBUI_ADMIN_PASSWORD"]}
        answer = await http.post(f"{settings.webui}/api/v1/auths/signin", json=sign_in)
        bearer = {"Authorization": f"Bearer {answer.json()['token']}"}
        assert await up.stop() == 130, up.text
    async with running_up(settings) as up, httpx.AsyncClient(trust_env=False, timeout=10) as http:
        await up.until("Stop: Ctrl-C")
        assert "signs up" not in up.text
        me = await http.get(f"{settings.webui}/api/v1/auths/", headers=bearer)
        assert me.json()["role"] == "admin"
        assert await up.stop() == 130, up.text
    assert processes_of(settings.home) == []
