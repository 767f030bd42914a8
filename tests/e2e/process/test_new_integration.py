"""A folder that comes, changes, breaks and goes while everything runs: the next turn has it as it then is."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from hub.wire import CatalogView, IntegrationView
from mcp_servers.kit.app import create_app
from tests.e2e.process.deployment import (
    Deployment,
    free_port,
    make_server,
    running_deployment,
    running_hub,
    switched_on,
    write_manifest,
)
from tests.fakes.asgi_server import serve_app
from tests.fakes.provider import Reply, ToolCall
from tests.mcp_servers.test_launcher import launched, write_integration

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

DRAFT = "open-persona/grant-draft"
Views = dict[str, IntegrationView]


@dataclass
class Place:
    deployment: Deployment
    root: Path

    async def until(self, condition: Callable[[Views], bool]) -> None:
        """A bounded wait for what the sidecar knows, which the hub pushes to it."""
        async with asyncio.timeout(10):
            while not condition(await self._known()):
                await asyncio.sleep(0.02)

    async def _known(self) -> Views:
        catalog = await self.deployment.services.turns.hub.catalog()
        assert catalog is not None
        return {view.name: view for view in catalog.integrations}

    async def offered(self, *on: str) -> list[str]:
        """The tools that reach the model of a persona with these on."""
        answer = await self.deployment.chat("go", model=DRAFT, meta=switched_on(*on))
        assert answer.terminals == ["stop"], answer
        return self.deployment.provider.requests[-1].tool_names

    async def called_plainly(self, tool: str, *on: str) -> str:
        """The same for a tool without arguments."""
        return await self.called(tool, *on, arguments={})

    async def called(self, tool: str, *on: str, arguments: dict[str, object] | None = None) -> str:
        """What the model is told of its call."""
        given: dict[str, object] = {"words": "deer"} if arguments is None else arguments
        self.deployment.provider.script([Reply(tools=[ToolCall(tool, given)]), "done"])
        answer = await self.deployment.chat("go", model=DRAFT, meta=switched_on(*on))
        self.deployment.provider.script("hello")
        assert answer.text == "done", answer
        return self.deployment.provider.requests[-1].tool_results[-1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    tmp = tmp_path_factory.mktemp("new")
    async with running_deployment(tmp, integrations={"alpha": {"search": "read"}}) as running:
        yield Place(running, tmp / "mcp_servers")


@pytest.mark.requirement("hub:follows-folder")
async def test_the_next_turn_has_a_folder_as_it_is(place: Place) -> None:
    async with AsyncExitStack() as stack:
        assert await place.offered("alpha") == ["alpha_search"]
        (before,) = place.deployment.services.turns.pool.live
        port, tools = free_port(), {"lookup": "read", "post": "write"}
        await stack.enter_async_context(serve_app(create_app(make_server("beta", tools), name="beta"), port=port))

        write_manifest(place.root, "beta", port, {"lookup": "read"})
        await place.until(lambda views: "beta" in views and views["beta"].reason == "tools_mismatch")
        assert await place.offered("alpha", "beta") == ["alpha_search", "beta_lookup"]
        assert "beta.lookup found: deer" in await place.called("beta_lookup", "beta")

        # The server's list stays as it is; more of it is approved.
        write_manifest(place.root, "beta", port, tools)
        await place.until(lambda views: views["beta"].health == "healthy")
        assert await place.offered("beta") == ["beta_lookup", "beta_post"]
        assert "beta.post found: deer" in await place.called("beta_post", "beta")

        (place.root / "beta" / "manifest.yaml").write_text("name: [")
        await place.until(lambda views: bool(views["beta"].faults))
        assert "beta.post found: deer" in await place.called("beta_post", "beta")

        (place.root / "beta" / "manifest.yaml").unlink()
        await place.until(lambda views: "beta" not in views)
        assert await place.offered("alpha") == ["alpha_search"]
        gone = await place.deployment.chat("go", model=DRAFT, meta=switched_on("alpha", "beta"))
        assert 'There is no integration "beta"' in str(gone.error["message"])
        assert list(place.deployment.services.turns.pool.live) == [before]


@pytest.mark.requirement("hub:folder-to-listed")
async def test_a_copied_folder_is_started_checked_and_listed_within_ten_seconds(place: Place, tmp_path: Path) -> None:
    root = tmp_path / "mcp_servers"
    root.mkdir()
    async with launched(root), running_hub(root, tmp_path / "hub", {}) as (hub_url, _):
        begun = time.monotonic()
        write_integration(root, "gamma")
        async with asyncio.timeout(10):
            while True:
                answer = await place.deployment.client.get(f"{hub_url}/api/v1/integrations")
                views = CatalogView.model_validate_json(answer.content).integrations
                if [view.name for view in views if view.health == "healthy"] == ["gamma"]:
                    break
                await asyncio.sleep(0.05)
        print(f"listed after {time.monotonic() - begun:.1f} s")


def changed_files(root: Path) -> list[str]:
    """What git says of the folder of integrations."""
    command = ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=normal"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")[:-1]


@pytest.mark.requirement("hub:folder-to-persona")
async def test_from_a_copied_folder_to_a_persona_that_calls_it_and_back(tmp_path: Path) -> None:
    root, prepared = tmp_path / "mcp_servers", tmp_path / "prepared"
    for folder in (root, prepared):
        folder.mkdir()
    write_integration(root, "gamma")
    write_integration(prepared, "delta")
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(root), *command], check=True)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(launched(root))
        hub_url, _ = await stack.enter_async_context(running_hub(root, tmp_path / "hub", {}))
        here = Place(await stack.enter_async_context(running_deployment(tmp_path / "rest", hub_url=hub_url)), root)
        await here.until(lambda views: views["gamma"].health == "healthy" if "gamma" in views else False)
        await here.offered("gamma")  # the runner is warm, as everything that runs

        begun = time.monotonic()
        await asyncio.to_thread(shutil.copytree, prepared / "delta", root / "delta")
        await here.until(lambda views: "delta" in views and views["delta"].health == "healthy")
        assert "hello from delta" in await here.called_plainly("delta_hello", "delta")
        assert time.monotonic() - begun <= 10
        assert changed_files(root) == ["?? delta/"]

        (root / "delta" / "manifest.yaml").write_text("name: [")
        await here.until(lambda views: bool(views["delta"].faults))
        assert "hello from delta" in await here.called_plainly("delta_hello", "delta")

        begun = time.monotonic()
        await asyncio.to_thread(shutil.rmtree, root / "delta")
        await here.until(lambda views: "delta" not in views)
        assert time.monotonic() - begun <= 10
        assert changed_files(root) == []
