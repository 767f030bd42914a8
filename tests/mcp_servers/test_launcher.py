"""The launcher as people run it: ``python -m mcp_servers``, with real server processes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from mcp_servers.launcher import OUR_ROOT, Spec, scan, server_environment
from mcp_servers.run import server_module
from tests.mcp_servers.eventually import eventually
from tests.mcp_servers.mcp_session import connected, payload_of
from tests.mcp_servers.test_child import alive

SERVER = '''
"""A server in a folder of its own, with a module of its own beside it."""
from datetime import UTC, datetime
from pathlib import Path

from mcp.server import MCPServer

from mcp_servers.kit.app import create_app
from mcp_servers.kit.integration import READ, Integration
from mcp_servers.kit.results import Page, Provenance, ToolResult, page_result
from mcp_servers.kit.serve import serve

from .words import HELLO

INTEGRATION = Integration.from_folder(Path(__file__).parent)
server = MCPServer(INTEGRATION.name)


@server.tool(annotations=READ)
async def hello() -> ToolResult:
    """Say hello."""
    return page_result(Page([{"said": HELLO}], {}, Provenance("Words", datetime.now(UTC))))


if __name__ == "__main__":
    serve(lambda: create_app(server, name=INTEGRATION.name), name=INTEGRATION.name, default_port=1)
'''


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_manifest(folder: Path, port: int, **changes: str) -> None:
    folder.mkdir(exist_ok=True)
    values = {"name": folder.name, "title": folder.name.title(), "type": "python", **changes}
    text = f"""\
        manifest_version: 1
        name: {values["name"]}
        title: {values["title"]}
        description: Says hello.
        transport: {{type: {values["type"]}, port: {port}}}
        tools: {{hello: read}}
        """
    partial = folder / "manifest.tmp"
    partial.write_text(textwrap.dedent(text))
    partial.rename(folder / "manifest.yaml")


def write_integration(root: Path, name: str, server: str = SERVER) -> int:
    port = free_port()
    folder = root / name
    folder.mkdir()
    (folder / "words.py").write_text(f"HELLO = 'hello from {name}'\n")
    (folder / "server.py").write_text(server)
    write_manifest(folder, port)
    return port


@dataclass
class Running:
    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)

    def said(self, *words: str) -> bool:
        return any(all(word in line for word in words) for line in self.lines)

    def pids(self, name: str) -> list[int]:
        found = (re.search(rf"{name}: started on port \d+ \(pid (\d+)\)", line) for line in self.lines)
        return [int(match[1]) for match in found if match]


@asynccontextmanager
async def launched(root: Path) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "mcp_servers",
        "--root",
        str(root),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "OPEN_PERSONA_MCP_LOG_LEVEL": "INFO"},
    )
    running = Running(process)

    async def read() -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            running.lines.append(line.decode().rstrip())

    reading = asyncio.create_task(read())
    try:
        yield running
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(20):
            await process.wait()
            await reading


async def answers(port: int) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=2) as http:
            return (await http.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
    except httpx.HTTPError:
        return False


async def comes_up(port: int) -> None:
    async with asyncio.timeout(30):
        while not await answers(port):
            await asyncio.sleep(0.1)


@pytest.mark.real
@pytest.mark.requirement("launcher:one-process-per-folder")
async def test_folders_outside_the_package_run_beside_broken_ones(tmp_path: Path) -> None:
    one, two = write_integration(tmp_path, "alpha"), write_integration(tmp_path, "beta")
    write_manifest(tmp_path / "misnamed", free_port(), name="other")
    (tmp_path / "garbled").mkdir()
    (tmp_path / "garbled" / "manifest.yaml").write_text("name: [unclosed")
    write_integration(tmp_path, "crashing", "raise RuntimeError('no start')")
    taken = write_integration(tmp_path, "taken")
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", taken))
        squatter.listen()
        async with launched(tmp_path) as running:
            await asyncio.gather(comes_up(one), comes_up(two))
            async with connected(f"http://127.0.0.1:{two}") as client:
                payload = payload_of(await client.call_tool("hello", {}))
            assert payload["items"] == [{"said": "hello from beta"}]
            await eventually(lambda: running.said("taken: down", str(taken), "is taken by another program"))
            await eventually(lambda: running.said("crashing: down", "ended with status 1"))
            assert running.said("not started", str(tmp_path / "garbled" / "manifest.yaml"))
            assert running.said("not started", "misnamed", "name: is 'other', but the folder is 'misnamed'")
            assert running.said("[crashing]", "no start")
            pids = running.pids("alpha") + running.pids("beta")
    assert running.process.returncode == 0
    assert [pid for pid in pids if alive(pid)] == []


@pytest.mark.real
@pytest.mark.requirement("launcher:restart")
async def test_a_killed_server_comes_back(tmp_path: Path) -> None:
    port = write_integration(tmp_path, "alpha")
    async with launched(tmp_path) as running:
        await comes_up(port)
        os.kill(running.pids("alpha")[0], signal.SIGKILL)
        await eventually(lambda: len(running.pids("alpha")) == 2)
        await comes_up(port)
        assert running.said("alpha: down", "was ended by SIGKILL")


@pytest.mark.real
@pytest.mark.requirement("launcher:new-folder")
async def test_folders_are_followed_while_it_runs(tmp_path: Path) -> None:
    first = write_integration(tmp_path, "alpha")
    async with launched(tmp_path) as running:
        await comes_up(first)
        second = write_integration(tmp_path, "beta")
        async with asyncio.timeout(10):
            await comes_up(second)
        (tmp_path / "alpha" / "manifest.yaml").write_text("half: [writ")
        await eventually(lambda: running.said("not started", "alpha"))
        assert await answers(first)
        moved = free_port()
        write_manifest(tmp_path / "alpha", moved)
        await comes_up(moved)
        assert not await answers(first)
        (tmp_path / "beta" / "manifest.yaml").unlink()
        await eventually(lambda: running.said("beta: stopped"))
        assert not await answers(second)
        assert len(running.pids("beta")) == 1


@pytest.mark.real
@pytest.mark.requirement("launcher:no-orphans")
async def test_sigkill_of_the_launcher_leaves_no_server(tmp_path: Path) -> None:
    port = write_integration(tmp_path, "alpha")
    async with launched(tmp_path) as running:
        await comes_up(port)
        [pid] = running.pids("alpha")
        running.process.kill()
        await eventually(lambda: not alive(pid), what="the server dies with the launcher")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_status_0(tmp_path: Path, number: signal.Signals) -> None:
    async with launched(tmp_path) as running:
        await eventually(lambda: running.said("integrations are read from"))
        running.process.send_signal(number)
        async with asyncio.timeout(10):
            assert await running.process.wait() == 0


def test_our_own_integrations_are_all_fit_to_run() -> None:
    found = scan(OUR_ROOT)
    assert found.problems == {}
    assert {"instrumentl"} <= set(found.specs)
    assert found.specs["instrumentl"].port == 7001


def test_scan_names_each_problem_and_keeps_the_rest(tmp_path: Path) -> None:
    port = write_integration(tmp_path, "alpha")
    write_manifest(tmp_path / "beta", port)
    (tmp_path / "beta" / "server.py").touch()
    write_manifest(tmp_path / "empty", free_port())
    write_manifest(tmp_path / "command", free_port(), type="command")
    write_manifest(tmp_path / "elsewhere", free_port(), type="http")
    (tmp_path / "no_manifest").mkdir()
    found = scan(tmp_path)
    assert list(found.specs) == ["alpha"]
    assert set(found.problems) == {"beta", "empty", "command"}
    assert f"{port} is already used by alpha" in found.problems["beta"]
    assert "server.py: is missing" in found.problems["empty"]
    assert "transport.command" in found.problems["command"]
    assert scan(tmp_path / "nowhere").problems.keys() == {""}


def test_a_folder_of_ours_runs_under_its_own_name() -> None:
    assert server_module(OUR_ROOT / "instrumentl") == "mcp_servers.instrumentl.server"


@pytest.mark.requirement("launcher:own-environment-only")
def test_a_server_sees_its_own_variables_and_no_other_secret() -> None:
    mine = {
        "PATH": "/bin",
        "HTTPS_PROXY": "http://proxy",
        "OPEN_PERSONA_ALPHA_API_KEY": "mine",
        "OPEN_PERSONA_MCP_ALLOWED_HOSTS": "box",
    }
    others = {
        "OPEN_PERSONA_BETA_API_KEY": "other",
        "OPEN_PERSONA_SERVICE_KEY": "other",
        "OPEN_PERSONA_SECRETS_FILE": "other",
        "OPENAI_API_KEY": "other",
        "github_token": "other",
    }
    seen = server_environment(Spec("alpha", Path("/x/alpha"), 7123, (0, 0)), {**mine, **others}, "127.0.0.1")
    assert mine.items() <= seen.items()
    assert others.keys().isdisjoint(seen)
    assert (seen["OPEN_PERSONA_MCP_HOST"], seen["OPEN_PERSONA_MCP_PORT"]) == ("127.0.0.1", "7123")
    assert seen["PYTHONPATH"] == str(OUR_ROOT.parent)
