"""The tokens of real turns, as an operator reads them afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.identity import workspace_hash
from tests.e2e.process.deployment import Deployment, running_deployment, switched_on
from tests.fakes.provider import Reply, ToolCall

pytestmark = pytest.mark.real
PER_CALL = 100, 20


async def rows(deployment: Deployment) -> list[dict[str, object]]:
    url = f"{deployment.url}/v1/open-persona/usage"
    answer = await deployment.client.get(url, headers=deployment.headers())
    found: list[dict[str, object]] = answer.raise_for_status().json()["rows"]
    return [
        {name: row[name] for name in ("persona", "user", "calls", "input_tokens", "output_tokens")} for row in found
    ]


def used(persona: str, calls: int) -> dict[str, object]:
    tokens = {"input_tokens": calls * PER_CALL[0], "output_tokens": calls * PER_CALL[1]}
    return {"persona": persona, "user": workspace_hash("ann"), "calls": calls, **tokens}


@pytest.mark.requirement("usage:counted")
async def test_every_call_of_a_turn_is_counted_for_its_user_and_persona(tmp_path: Path) -> None:
    tool = Reply(tools=[ToolCall("alpha_search", {"words": "food"})], tokens=PER_CALL)
    words = Reply(text=["Found it."], tokens=PER_CALL)
    refused = Reply(status=401, body={"error": {"message": "no"}})
    async with running_deployment(tmp_path, integrations={"alpha": {"search": "read"}}) as deployment:
        deployment.provider.script([tool, words])
        assert (await deployment.chat("go", meta=switched_on("alpha"))).text == "Found it."
        deployment.provider.script(words)
        await deployment.chat("go", model="open-persona/grant-draft", picked="drafter", stream=False)
        deployment.provider.script(refused)
        await deployment.chat("go", model="open-persona/grant-draft", picked="drafter")
        of_drafter, of_izzy = await rows(deployment)
        names = str(of_drafter["persona"]), str(of_izzy["persona"])
        assert [name.rpartition("-")[0] for name in names] == ["drafter", "open-persona-izzy"]  # a digest ends each
        assert of_drafter == {**used(names[0], 1), "calls": 2}  # the refused call had no tokens
        assert of_izzy == used(names[1], 2)
        text = (await deployment.client.get(f"{deployment.url}/metrics", headers=deployment.headers())).text
    assert 'open_persona_turns_total{outcome="ok",template="izzy"} 1.0' in text
    assert 'open_persona_turns_total{outcome="provider_auth",template="grant-draft"} 1.0' in text
    assert 'open_persona_tokens_total{direction="input",model="m1",provider="compatible"} 300.0' in text
    assert "open_persona_live_runners 1.0" in text
    assert not any(word in text for word in ("ann", workspace_hash("ann"), "drafter"))
