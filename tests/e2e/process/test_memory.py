"""Izzy's memory: a tree of answers that survives killed runners and restarted sidecars; nobody else has one."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from sidecar.identity import runner_name, runner_password, workspace_hash
from sidecar.opencode_client import OpencodeClient
from tests.e2e.process.deployment import Deployment, running_deployment
from tests.e2e.process.processes import opencode_of
from tests.fakes.provider import ProviderRequest

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


def recite(request: ProviderRequest) -> str:
    return f"answer {len(request.user_texts)}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with running_deployment(tmp_path_factory.mktemp("memory"), script=recite) as running:
        yield running


def seen(deployment: Deployment) -> str:
    """All that the model was told in the last request."""
    return "\n".join(str(message) for message in deployment.provider.requests[-1].messages)


async def sessions(deployment: Deployment) -> int:
    """How many sessions the user's runner holds."""
    live = deployment.services.turns.pool.live[0]
    found = await live.client._call("GET", "/session")
    assert isinstance(found, list)
    return len(found)


@pytest.mark.requirement("memory:remembers")
async def test_izzy_remembers_what_the_request_does_not_repeat(deployment: Deployment) -> None:
    await deployment.chat("my dog is Rex", chat="c-remember", answer="a1")
    await deployment.chat("what is my dog called?", chat="c-remember", answer="a2", parent="a1")
    assert "my dog is Rex" in seen(deployment)
    assert deployment.provider.requests[-1].user_texts == ["my dog is Rex", "what is my dog called?"]


@pytest.mark.requirement("memory:fork-on-edit")
async def test_an_edited_message_forks_and_the_abandoned_branch_is_not_seen(deployment: Deployment) -> None:
    await deployment.chat("first", chat="c-edit", answer="b1")
    await deployment.chat("the secret is plum", chat="c-edit", answer="b2", parent="b1")
    await deployment.chat("the secret is pear", chat="c-edit", answer="b3", parent="b1")
    assert deployment.provider.requests[-1].user_texts == ["first", "the secret is pear"]
    await deployment.chat("which fruit?", chat="c-edit", answer="b4", parent="b3")
    assert deployment.provider.requests[-1].user_texts == ["first", "the secret is pear", "which fruit?"]
    await deployment.chat("and in the other branch?", chat="c-edit", answer="b5", parent="b2")
    assert deployment.provider.requests[-1].user_texts == ["first", "the secret is plum", "and in the other branch?"]


@pytest.mark.requirement("memory:fork-on-regenerate")
async def test_a_regenerated_answer_forks_too(deployment: Deployment) -> None:
    await deployment.chat("first", chat="c-again", answer="d1")
    await deployment.chat("second", chat="c-again", answer="d2", parent="d1")
    await deployment.chat("second", chat="c-again", answer="d3", parent="d1")
    assert deployment.provider.requests[-1].user_texts == ["first", "second"]


@pytest.mark.requirement("memory:quoted-when-unseen")
async def test_answers_of_another_persona_come_first_as_a_quoted_transcript(deployment: Deployment) -> None:
    await deployment.chat("hello Izzy", chat="c-mixed", answer="e1")
    history = [
        {"role": "user", "content": "hello Izzy"},
        {"role": "assistant", "content": "answer 1"},
        {"role": "user", "content": "draft it"},
        {"role": "assistant", "content": "the draft says marmalade"},
    ]
    await deployment.chat(history[:3], model="open-persona/grant-draft", chat="c-mixed", answer="e2", parent="e1")
    await deployment.chat(
        [*history, {"role": "user", "content": "what did it say?"}], chat="c-mixed", answer="e3", parent="e2"
    )
    first, second = deployment.provider.requests[-1].user_texts
    assert first == "hello Izzy"
    assert "| the draft says marmalade" in second
    assert "hello Izzy" not in second
    assert second.endswith("what did it say?")


@pytest.mark.requirement("memory:needs-a-chat")
async def test_without_a_chat_id_there_is_no_memory(deployment: Deployment) -> None:
    await deployment.chat("remember the word walnut")
    await deployment.chat("which word?")
    assert "walnut" not in seen(deployment)
    await deployment.chat("remember the word walnut", chat="local:1", answer="f1")
    await deployment.chat("which word?", chat="local:1", answer="f2", parent="f1")
    assert "walnut" not in seen(deployment)


@pytest.mark.requirement("memory:keyed-by-user")
async def test_another_persona_has_none_and_leaves_no_session(deployment: Deployment) -> None:
    before = await sessions(deployment)
    options = {"model": "open-persona/grant-draft", "chat": "c-draft"}
    await deployment.chat("the code is apricot", answer="g1", **options)
    await deployment.chat("what is the code?", answer="g2", parent="g1", **options)
    assert "apricot" not in seen(deployment)
    await deployment.idle()
    assert await sessions(deployment) == before


@pytest.mark.requirement("memory:survives-kill")
async def test_memory_survives_a_killed_runner(deployment: Deployment) -> None:
    await deployment.chat("my river is the Elbe", chat="c-kill", answer="h1")
    live = deployment.services.turns.pool.live[0]
    os.kill(opencode_of(live.spec.private), signal.SIGKILL)
    await asyncio.wait_for(live.gone.wait(), 10)
    answer = await deployment.chat("which river?", chat="c-kill", answer="h2", parent="h1")
    assert answer.terminals == ["stop"]
    assert deployment.provider.requests[-1].user_texts == ["my river is the Elbe", "which river?"]


@pytest.mark.requirement("memory:survives-restart")
async def test_memory_survives_a_restart_of_the_sidecar(tmp_path: Path) -> None:
    async with running_deployment(tmp_path, script=recite) as first:
        await first.chat("my lake is the Mueritz", chat="c", answer="a1")
    async with running_deployment(tmp_path, script=recite) as second:
        await second.chat("which lake?", chat="c", answer="a2", parent="a1")
        assert second.provider.requests[-1].user_texts == ["my lake is the Mueritz", "which lake?"]


@pytest.mark.requirement("memory:off-by-meta")
async def test_memory_can_be_switched_off(deployment: Deployment) -> None:
    options = {"chat": "c-off", "meta": {"memory": {"enabled": False}}}
    await deployment.chat("the tree is a beech", answer="i1", **options)
    await deployment.chat("which tree?", answer="i2", parent="i1", **options)
    assert "beech" not in seen(deployment)


async def test_a_runner_needs_its_password(deployment: Deployment) -> None:
    live = deployment.services.turns.pool.live[0]
    name = runner_name(workspace_hash("ann"), live.spec.key_sig)
    wrong = runner_password(deployment.services.settings.sidecar_api_key, name)
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{live.client.url}/config") as bare:
            assert bare.status == 401
        with pytest.raises(Exception, match="stopped answering"):
            await OpencodeClient(live.client.url, wrong, http).version(timeout_s=5)
