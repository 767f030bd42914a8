"""Servers that nobody here wrote, each from a manifest alone, called by a persona through real opencode.

The clock and the files talk stdio and are run by the launcher; ``everything`` is one of the handshake era with
sessions, run by somebody else, and reached over HTTP.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from hub.wire import IntegrationView
from tests.e2e.process.deployment import Deployment, free_port, running_deployment, switched_on
from tests.e2e.process.strangers import Strangers, ensure_strangers
from tests.fakes.provider import ProviderRequest, Reply, ToolCall
from tests.mcp_servers.test_launcher import Running, launched

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

DRAFT = "open-persona/grant-draft"
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "wrap-somebody-elses-server.md"
PROBE = {"interval_s": 1, "timeout_s": 10, "failures_before_down": 1}


def shown(name: str) -> dict[str, Any]:
    """The manifest of that name in the how-to page."""
    for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL):
        manifest: dict[str, Any] = yaml.safe_load(block)
        if manifest["name"] == name:
            return manifest
    raise LookupError(name)


def write(root: Path, name: str, **transport: object) -> None:
    """The page's manifest in a folder with nothing else, put there in one step; ``transport`` is what differs here."""
    manifest = {**shown(name), "probe": PROBE}
    manifest["transport"] |= transport
    partial = root / f".{name}"
    partial.mkdir(parents=True)
    (partial / "manifest.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))
    partial.rename(root / name)


@dataclass
class Place:
    deployment: Deployment
    launcher: Running
    root: Path
    strangers: Strangers

    async def until(self, name: str, condition: Callable[[IntegrationView], bool]) -> IntegrationView:
        async with asyncio.timeout(30):
            while True:
                catalog = await self.deployment.services.turns.hub.catalog()
                assert catalog is not None
                for view in catalog.integrations:
                    if view.name == name and condition(view):
                        return view
                await asyncio.sleep(0.02)

    async def called(self, tool: str, arguments: dict[str, object], on: str, **settings: str) -> str:
        """What the model is told of its call, for a user with these settings."""
        self.deployment.provider.script([Reply(tools=[ToolCall(tool, arguments)]), "done"])
        header = {"x-openpersona-integrations-b64": encoded({on: settings})} if settings else {}
        answer = await self.deployment.chat("go", model=DRAFT, meta=switched_on(on), **header)
        assert answer.text == "done", answer
        return self.deployment.provider.requests[-1].tool_results[-1]


def encoded(settings: dict[str, dict[str, str]]) -> str:
    return base64.b64encode(json.dumps(settings).encode()).decode()


@asynccontextmanager
async def everything(strangers: Strangers) -> AsyncIterator[int]:
    """The npm server over HTTP, on a free port."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        "node",
        str(strangers.script("server-everything")),
        "streamableHttp",
        env={"PATH": os.environ["PATH"], "PORT": str(port)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()


@pytest.fixture(scope="module")
def strangers() -> Strangers:
    return ensure_strangers()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory, strangers: Strangers) -> AsyncIterator[Place]:
    tmp = tmp_path_factory.mktemp("strangers")
    root = tmp / "mcp_servers"
    root.mkdir()
    async with AsyncExitStack() as stack:
        launcher = await stack.enter_async_context(launched(root))
        deployment = await stack.enter_async_context(running_deployment(tmp, process_shared=True))
        assert (await deployment.chat("hello", model=DRAFT)).text == "hello"  # opencode takes seconds to start
        yield Place(deployment, launcher, root, strangers)


@pytest.mark.requirement("stdio:strangers")
async def test_the_clock_from_pypi(place: Place) -> None:
    begun = time.monotonic()
    command = [str(place.strangers.python), "-m", "mcp_server_time"]
    write(place.root, "clock", port=free_port(), command=command)
    view = await place.until("clock", lambda view: view.health == "healthy")
    healthy_s = time.monotonic() - begun
    assert healthy_s < 10
    told = await place.called("clock_get_current_time", {"timezone": "Asia/Tokyo"}, "clock")
    print(f"called after {time.monotonic() - begun:.1f} s")
    assert json.loads(told)["timezone"] == "Asia/Tokyo"
    assert {(tool.name, tool.risk) for tool in view.tools} == {("get_current_time", "read"), ("convert_time", "read")}


@pytest.mark.requirement("stdio:strangers")
async def test_everything_of_the_handshake_era_over_http(place: Place) -> None:
    async with everything(place.strangers) as port:
        write(place.root, "everything", url=f"http://127.0.0.1:{port}/mcp")
        view = await place.until("everything", lambda view: view.protocol != "")
        assert view.protocol == "2025-11-25"
        on, key = "everything", {"api_key": "of-ann"}
        assert "“API key” is not set" in await place.called("everything_echo", {"message": "hello you"}, on)
        assert "hello you" in await place.called("everything_echo", {"message": "hello you"}, on, **key)
        assert "5" in await place.called("everything_get-sum", {"a": 2, "b": 3}, on, **key)
        long: dict[str, object] = {"duration": 1, "steps": 2}
        assert "completed" in await place.called("everything_trigger-long-running-operation", long, on, **key)


@pytest.mark.requirement("stdio:strangers")
async def test_each_user_has_files_of_their_own(place: Place, tmp_path: Path) -> None:
    folders = {user: tmp_path / user for user in ("ann", "bob")}
    for user, folder in folders.items():
        folder.mkdir()
        (folder / "note.txt").write_text(f"the note of {user}")
    command = ["node", str(place.strangers.script("server-filesystem")), "{folder}"]
    assert shown("files")["transport"]["command"][-1] == command[-1]
    write(place.root, "files", port=free_port(), command=command)
    await place.until("files", lambda view: view.protocol != "")

    def answer(request: ProviderRequest) -> Reply | str:
        paths = re.findall(r"read (\S+)", request.last_user)
        if request.tool_results:
            return "done"
        return Reply(tools=[ToolCall("files_read_text_file", {"path": path}) for path in paths])

    async def turn(user: str) -> list[str]:
        settings = encoded({"files": {"folder": str(folders[user])}})
        said = f"I am {user}. " + " ".join(f"read {folders[one]}/note.txt" for one in ("ann", "bob"))
        meta = switched_on("files")
        options = {"x-openpersona-integrations-b64": settings}
        got = await place.deployment.chat(said, user=user, model=DRAFT, meta=meta, **options)
        assert got.text == "done", got
        asked = [one for one in place.deployment.provider.requests if f"I am {user}." in one.last_user]
        return asked[-1].tool_results

    place.deployment.provider.script(answer)
    of_ann, of_bob = await asyncio.gather(turn("ann"), turn("bob"))
    assert "the note of ann" in of_ann[0]
    assert "the note of bob" in of_bob[1]
    for denied in (of_ann[1], of_bob[0]):
        assert "Access denied" in denied
        assert "the note of" not in denied

    missing = await place.called("files_list_allowed_directories", {}, "files")
    assert "“Folder” is not set" in missing
    assert "the tool “Open Persona: Files”" in missing
    assert not any(str(folder) in line for folder in folders.values() for line in place.launcher.lines)
