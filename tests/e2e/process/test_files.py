"""What an agent with ``files`` can reach in ``process`` mode: its own workspace, and nothing beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sidecar.identity import workspace_hash
from tests.e2e.process.deployment import Deployment, running_deployment
from tests.fakes.provider import Reply, ToolCall

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

SECRET = "canary-of-another-user"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with running_deployment(tmp_path_factory.mktemp("files"), process_shared=True) as running:
        await running.chat("hello")
        (running.home / "secrets.json").write_text(f'{{"canary": "{SECRET}"}}')
        other = running.home / "workspaces" / workspace_hash("bob")
        other.mkdir(parents=True)
        (other / "plan.txt").write_text(SECRET)
        (own(running) / "notes.txt").write_text("own words")
        yield running


def own(deployment: Deployment) -> Path:
    return deployment.home / "workspaces" / workspace_hash("ann")


async def call(deployment: Deployment, tool: str, **arguments: object) -> str:
    """The result that the model gets when it calls ``tool``."""
    deployment.provider.script([Reply(tools=[ToolCall(tool, arguments)]), "done"])
    answer = await deployment.chat("go on")
    assert answer.text == "done", answer
    return deployment.provider.requests[-1].tool_results[-1]


async def test_its_own_files_are_read_and_written(deployment: Deployment) -> None:
    assert "own words" in await call(deployment, "read", filePath="notes.txt")
    await call(deployment, "write", filePath="new.txt", content="fresh")
    assert (own(deployment) / "new.txt").read_text() == "fresh"
    assert "notes.txt" in await call(deployment, "grep", pattern="own w")


def reaches(home: Path) -> dict[str, dict[str, object]]:
    bob = home / "workspaces" / workspace_hash("bob")
    return {
        "secrets, relative": {"tool": "read", "filePath": "../../secrets.json"},
        "secrets, absolute": {"tool": "read", "filePath": str(home / "secrets.json")},
        "another user's file": {"tool": "read", "filePath": f"../{bob.name}/plan.txt"},
        "grep above": {"tool": "grep", "pattern": "canary", "path": "../.."},
        "glob above": {"tool": "glob", "pattern": "*", "path": str(bob)},
        "glob with dots": {"tool": "glob", "pattern": "../../**/*.txt"},
        "write above": {"tool": "write", "filePath": "../../secrets.json", "content": "gone"},
        "edit another's": {
            "tool": "edit",
            "filePath": str(bob / "plan.txt"),
            "oldString": "canary",
            "newString": "gone",
        },
        "the environment": {"tool": "read", "filePath": "/proc/self/environ"},
    }


async def refused(deployment: Deployment) -> None:
    for name, arguments in reaches(deployment.home).items():
        result = await call(deployment, **arguments)  # type: ignore[arg-type]
        assert SECRET not in result, name
        assert "OPENCODE_SERVER_PASSWORD" not in result, name
    assert SECRET in (deployment.home / "secrets.json").read_text()
    assert (deployment.home / "workspaces" / workspace_hash("bob") / "plan.txt").read_text() == SECRET


@pytest.mark.requirement("files:own-workspace-only")
async def test_nothing_outside_is_read_or_written(deployment: Deployment) -> None:
    await refused(deployment)


@pytest.mark.requirement("files:planted-git-config")
async def test_a_planted_git_config_widens_nothing(deployment: Deployment) -> None:
    git = own(deployment) / ".git"
    for folder in ("objects", "refs"):
        (git / folder).mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "config").write_text(
        f"[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = {deployment.home}\n"
    )
    await deployment.services.turns.pool.live[0].client.dispose()
    await refused(deployment)


@pytest.mark.requirement("files:links-swept")
async def test_a_link_that_leaves_the_workspace_is_removed_and_reported(deployment: Deployment) -> None:
    bob = deployment.home / "workspaces" / workspace_hash("bob")
    inside = own(deployment) / "kept"
    for link, target in (("out.json", deployment.home / "secrets.json"), ("bob", bob)):
        (own(deployment) / link).symlink_to(target)
    if not inside.exists():
        inside.symlink_to(own(deployment) / "notes.txt")
    deployment.provider.script([Reply(tools=[ToolCall("read", {"filePath": "out.json"})]), "done"])
    answer = await deployment.chat("read it")
    assert any("Removed links" in line and "out.json" in line for line in answer.statuses)
    assert SECRET not in deployment.provider.requests[-1].tool_results[-1]
    assert SECRET not in await call(deployment, "read", filePath="bob/plan.txt")
    assert inside.is_symlink()
