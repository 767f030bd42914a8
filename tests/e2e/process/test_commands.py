"""``/reset`` and ``/forget`` with a real opencode behind them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from sidecar.commands import FORGOTTEN, FRESH
from sidecar.identity import workspace_hash
from tests.e2e.process.deployment import Deployment, running_deployment
from tests.fakes.provider import ProviderRequest, Reply, ToolCall

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
ANN = workspace_hash("ann")


def recite(request: ProviderRequest) -> str:
    return f"answer {len(request.user_texts)}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with running_deployment(tmp_path_factory.mktemp("commands"), script=recite) as running:
        yield running


def spoken(*words: str) -> list[dict[str, object]]:
    """Messages in turn of the user and the assistant, as Open WebUI repeats them."""
    return [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(words)]


def told(deployment: Deployment) -> str:
    """All that the model was told in the last request."""
    return "\n".join(str(message) for message in deployment.provider.requests[-1].messages)


def kept_by_opencode(home: Path, words: str) -> int:
    """How many rows of opencode's own database hold these words."""
    (path,) = (home / "runners" / ANN).glob("*/data/opencode/opencode.db")
    connection = sqlite3.connect(path)
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = sum(words in str(row) for table in tables for row in connection.execute(f'SELECT * FROM "{table}"'))
    connection.close()
    return found


async def ids(deployment: Deployment) -> Sequence[str]:
    return await deployment.services.turns.pool.live[0].client.sessions()


@pytest.mark.requirement("commands:reset")
async def test_reset_starts_a_fresh_runner_and_keeps_files_and_memory(deployment: Deployment) -> None:
    deployment.provider.script([Reply(tools=[ToolCall("write", {"filePath": "note.txt", "content": "kept"})]), "ok"])
    await deployment.chat("my dog is Rex", chat="c-reset", answer="a1")
    deployment.provider.script(recite)
    await deployment.idle()
    before, asked = deployment.services.turns.pool.live[0], len(deployment.provider.requests)
    answer = await deployment.chat(
        spoken("my dog is Rex", "ok", " /reset "), chat="c-reset", answer="r2", parent="a1", model="open-persona/izzy"
    )
    assert (answer.text, answer.terminals, answer.done) == (FRESH, ["stop"], 1)
    assert answer.usage["total_tokens"] == 0
    assert before.gone.is_set()
    assert len(deployment.provider.requests) == asked
    history = spoken("my dog is Rex", "ok", "/reset", FRESH, "what is it called?")
    await deployment.chat(history, chat="c-reset", answer="a3", parent="r2")
    assert deployment.services.turns.pool.live[0] is not before
    assert deployment.provider.requests[-1].user_texts == ["my dog is Rex", "what is it called?"]
    assert (deployment.home / "workspaces" / ANN / "note.txt").read_text() == "kept"


@pytest.mark.requirement("commands:reset")
async def test_reset_is_answered_without_stream_without_a_key_and_with_a_picture(deployment: Deployment) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    said = [{"role": "user", "content": [{"type": "text", "text": "/reset"}, picture]}]
    meta = {"model": "compatible/m2"}
    answer = await deployment.chat(said, stream=False, meta=meta)
    said_back = str(answer.body["choices"])
    assert "fresh workspace" in said_back or "starts one" in said_back
    assert answer.body["usage"]["total_tokens"] == 0  # type: ignore[index]


@pytest.mark.requirement("commands:exact")
async def test_an_unknown_word_with_a_slash_goes_to_the_model(deployment: Deployment) -> None:
    answer = await deployment.chat("/help me")
    assert (answer.text, deployment.provider.requests[-1].last_user) == ("answer 1", "/help me")


@pytest.mark.requirement("commands:forget")
@pytest.mark.requirement("commands:not-told")
async def test_forget_deletes_the_sessions_and_nothing_before_it_is_told_again(deployment: Deployment) -> None:
    await deployment.chat("other chat", chat="c-other", answer="o1")
    await deployment.chat("the code is plum", chat="c-forget", answer="a1")
    await deployment.chat("and pear", chat="c-forget", answer="a2", parent="a1")
    assert kept_by_opencode(deployment.home, "the code is plum") > 0
    before = set(await ids(deployment))
    said = ["the code is plum", "answer 1", "and pear", "answer 2", "/forget"]
    answer = await deployment.chat(spoken(*said), chat="c-forget", answer="f3", parent="a2")
    assert (answer.text, answer.terminals, answer.done) == (FORGOTTEN, ["stop"], 1)
    assert len(before - set(await ids(deployment))) == 1
    assert kept_by_opencode(deployment.home, "the code is plum") == 0

    said += [FORGOTTEN, "what is the code?"]
    await deployment.chat(spoken(*said), chat="c-forget", answer="a4", parent="f3")
    assert deployment.provider.requests[-1].user_texts == ["what is the code?"]
    said += ["answer 1", "sure?"]
    await deployment.chat(spoken(*said), chat="c-forget", answer="a5", parent="a4")
    assert deployment.provider.requests[-1].user_texts == ["what is the code?", "sure?"]
    # Another persona answers in between: only what came after the command is quoted.
    said += ["answer 2", "draft it"]
    await deployment.chat(spoken(*said), chat="c-forget", answer="d6", parent="a5", model="open-persona/grant-draft")
    assert "what is the code?" in told(deployment)
    assert "plum" not in told(deployment)
    said += ["a draft of marmalade", "and now?"]
    await deployment.chat(spoken(*said), chat="c-forget", answer="a7", parent="d6")
    assert "marmalade" in told(deployment)
    assert "plum" not in told(deployment)


@pytest.mark.requirement("commands:forget")
async def test_other_branches_of_a_forgotten_chat_begin_anew_too(deployment: Deployment) -> None:
    await deployment.chat("the code is quince", chat="c-branch", answer="a1")
    said = ["the code is quince", "answer 1"]
    await deployment.chat(spoken(*said, "/forget"), chat="c-branch", answer="f2", parent="a1")
    await deployment.chat(spoken(*said, "edited"), chat="c-branch", answer="a3", parent="a1")
    assert deployment.provider.requests[-1].user_texts == ["edited"]
    # The answer after the command, given once more.
    for answer in ("a4", "a5"):
        history = spoken(*said, "/forget", FORGOTTEN, "again")
        await deployment.chat(history, chat="c-branch", answer=answer, parent="f2")
        assert deployment.provider.requests[-1].user_texts == ["again"]
    # And the command itself, given once more.
    answer_again = await deployment.chat(spoken(*said, "/forget"), chat="c-branch", answer="f6", parent="a1")
    assert answer_again.text == FORGOTTEN
    await deployment.chat(spoken(*said, "/forget", FORGOTTEN, "hm"), chat="c-branch", answer="a7", parent="f6")
    assert deployment.provider.requests[-1].user_texts == ["hm"]


@pytest.mark.requirement("commands:forget")
async def test_what_is_forgotten_without_a_runner_goes_when_the_next_one_starts(deployment: Deployment) -> None:
    await deployment.chat("the code is medlar", chat="c-cold", answer="a1")
    await deployment.idle()
    await deployment.services.turns.pool.reset(ANN)
    answer = await deployment.chat(
        spoken("the code is medlar", "answer 1", "/forget"), chat="c-cold", answer="f2", parent="a1"
    )
    assert answer.text == FORGOTTEN
    assert deployment.services.turns.pool.live == ()
    assert kept_by_opencode(deployment.home, "medlar") > 0
    await deployment.chat("hello")
    assert kept_by_opencode(deployment.home, "medlar") == 0
