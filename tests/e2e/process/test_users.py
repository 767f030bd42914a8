"""The end of a user's data, while a real opencode runs for them."""

from __future__ import annotations

import asyncio
import io
import sqlite3
import tarfile
from pathlib import Path

import pytest

from sidecar.identity import workspace_hash
from tests.e2e.process.deployment import running_deployment
from tests.fakes.provider import Reply, ToolCall

pytestmark = [pytest.mark.real]
ANN = workspace_hash("ann")


@pytest.mark.requirement("users:export")
@pytest.mark.requirement("users:removed")
async def test_a_user_is_handed_over_and_removed_but_not_in_a_turn(tmp_path: Path) -> None:
    write = ToolCall("write", {"filePath": "plan.txt", "content": "the plan"})
    async with running_deployment(tmp_path, script=[Reply(tools=[write]), "noted"]) as deployment:
        users = f"{deployment.url}/v1/open-persona/users"
        await deployment.chat("my dog is Rex", chat="c", answer="a1")
        archive = await deployment.client.get(f"{users}/{ANN}/export", headers=deployment.headers())
        with tarfile.open(fileobj=io.BytesIO(archive.content)) as tar:
            tar.extractall(tmp_path / "out", filter="data")
        assert (tmp_path / "out" / "workspace" / "plan.txt").read_text() == "the plan"
        sessions = sqlite3.connect(tmp_path / "out" / "sessions-1.db")
        assert sessions.execute("SELECT count(*) FROM part WHERE data LIKE '%my dog is Rex%'").fetchone()[0] > 0
        sessions.close()

        deployment.provider.script(Reply(stall="start"))
        asked = len(deployment.provider.requests)
        turn = asyncio.create_task(deployment.chat("think", chat="c", answer="a2", parent="a1"))
        await deployment.provider.wait_requests(asked + 1)
        refused = await deployment.client.delete(f"{users}/{ANN}", headers=deployment.headers())
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "busy")
        assert (deployment.home / "workspaces" / ANN / "plan.txt").exists()
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
        await deployment.idle()

        live = deployment.services.turns.pool.live[0]
        removed = await deployment.client.delete(f"{users}/{ANN}", headers=deployment.headers())
        assert removed.status_code == 200
        assert live.gone.is_set()
        assert not (deployment.home / "workspaces" / ANN).exists()
        assert not (deployment.home / "runners" / ANN).exists()
        listed = await deployment.client.get(users, headers=deployment.headers())
        assert listed.json()["users"] == []

        deployment.provider.script("hello again")
        answer = await deployment.chat("do you know me?", chat="c", answer="a3", parent="a1")
        assert answer.text == "hello again"
        assert deployment.provider.requests[-1].user_texts == ["do you know me?"]
