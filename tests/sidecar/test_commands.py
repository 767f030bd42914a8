"""``/reset`` and ``/forget``: what counts as one, what is told of them, and what the store keeps."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from pydantic import SecretStr

from sidecar.commands import FORGOTTEN, FRESH, NO_MEMORY, NONE_RUNNING, UNKEPT, Commands, command_in, without_commands
from sidecar.errors import Busy, RunnerError
from sidecar.events import Text
from sidecar.identity import Identity, workspace_hash
from sidecar.locks import KeyedLocks
from sidecar.openai_models import ChatRequest, Image, Message
from sidecar.outputs import Finish, Output, Status
from sidecar.runners.base import RunnerSpec
from sidecar.runners.pool import RunnerPool
from sidecar.sessions import answers_above, last_exchanges, last_seen
from sidecar.store import Answer, Store
from tests.sidecar.builders import PNG, TEMPLATES

ANN = workspace_hash("ann")


class Pool:
    """A pool without runners, or one whose runner is at work."""

    live: tuple[object, ...] = ()

    def __init__(self, *, running: bool = False, busy: float = 0) -> None:
        self.running = running
        self.busy = busy
        self.reset_users: list[str] = []

    async def reset(self, user: str) -> bool:
        if self.busy:
            self.busy -= 1
            raise Busy("busy")
        self.reset_users.append(user)
        return self.running


def commands(path: Path, pool: Pool | None = None, chats: KeyedLocks | None = None, wait_s: float = 5) -> Commands:
    return Commands(Store(path), cast("RunnerPool", pool or Pool()), TEMPLATES, chats or KeyedLocks(), wait_s)


async def say(
    held: Commands,
    words: str,
    *,
    model: str = "open-persona/izzy",
    chat_id: str = "",
    message_id: str = "",
    parent_message_id: str = "",
) -> list[Output]:
    chat = ChatRequest(model, (Message("user", words),))
    told = held.read(Identity("ann", chat_id, message_id, parent_message_id=parent_message_id), chat)
    assert told is not None
    outputs: list[Output] = []
    await held.run(told, outputs.append)
    return outputs


def words_of(outputs: list[Output]) -> str:
    assert [type(output) for output in outputs if not isinstance(output, Status)] == [Text, Finish]
    return "".join(output.text for output in outputs if isinstance(output, Text))


@pytest.mark.requirement("commands:exact")
@pytest.mark.parametrize("words", ["/reset", " /reset\n", "/forget"])
def test_a_message_that_is_just_the_command_is_one(words: str) -> None:
    assert command_in(Message("user", words)) == words.strip()
    assert command_in(Message("user", words, (Image("image/png", PNG),))) == words.strip()


@pytest.mark.requirement("commands:exact")
@pytest.mark.parametrize("words", ["/resets", "/reset now", "a /forget", "/RESET", "//reset", "/help", "reset", ""])
def test_every_other_message_is_none(words: str) -> None:
    assert command_in(Message("user", words)) is None
    assert command_in(Message("assistant", "/reset")) is None


@pytest.mark.requirement("commands:not-told")
def test_commands_and_their_answers_are_in_no_transcript() -> None:
    told = [
        Message("user", "one"),
        Message("assistant", "1"),
        Message("user", "/reset"),
        Message("assistant", "/reset done"),
        Message("assistant", "twice"),
        Message("system", "rules"),
        Message("user", "two"),
        Message("user", "/forget"),
    ]
    assert [message.text for message in without_commands(told)] == ["one", "1", "rules", "two"]


@pytest.mark.requirement("commands:reset")
async def test_reset_ends_the_runner_of_whoever_says_it(tmp_path: Path) -> None:
    for running, answer in ((True, FRESH), (False, NONE_RUNNING)):
        pool = Pool(running=running)
        assert words_of(await say(commands(tmp_path / "db", pool), "/reset")) == answer
        assert pool.reset_users == [ANN]


@pytest.mark.requirement("commands:reset")
async def test_reset_says_that_an_answer_still_runs(tmp_path: Path) -> None:
    assert words_of(await say(commands(tmp_path / "db", Pool(running=True, busy=2)), "/reset")) == FRESH
    outputs = await say(commands(tmp_path / "db", Pool(busy=math.inf)), "/reset")
    assert "still running" in words_of(outputs)
    assert "send /reset again" in words_of(outputs)


@pytest.mark.requirement("commands:reset")
async def test_what_follows_a_reset_goes_on_where_the_chat_was(tmp_path: Path) -> None:
    held = commands(tmp_path / "db")
    held.store.remember_answer(Answer(ANN, "c", "a1", "", "izzy", "ses", "msg"))
    held.store.note_answer(Answer(ANN, "c", "d2", "a1", "draft"))
    await say(held, "/reset", chat_id="c", message_id="r3", parent_message_id="d2")
    above = answers_above(held.store.answers(ANN, "c"), "r3")
    seen, unseen = last_seen(above, "izzy")
    assert (seen and seen.answer, unseen) == ("a1", 1)
    history = [("user", "hi"), ("assistant", "a1"), ("user", "draft"), ("assistant", "d2"), ("user", "/reset")]
    told = without_commands([Message(role, text) for role, text in history])  # type: ignore[arg-type]
    assert [message.text for message in last_exchanges(told, unseen)] == ["draft", "d2"]


async def test_a_reset_at_the_start_of_a_chat_is_noted_nowhere(tmp_path: Path) -> None:
    held = commands(tmp_path / "db")
    await say(held, "/reset", chat_id="c", message_id="r1")
    assert held.store.answers(ANN, "c") == {}


@pytest.mark.requirement("commands:forget")
async def test_forget_removes_this_chat_of_this_user_alone(tmp_path: Path) -> None:
    held = commands(tmp_path / "db")
    for user, chat in ((ANN, "c"), (ANN, "other"), ("bob", "c")):
        held.store.remember_answer(Answer(user, chat, "a1", "", "izzy", f"ses-{user}-{chat}", "msg"))
    assert words_of(await say(held, "/forget", chat_id="c", message_id="f2", parent_message_id="a1")) == FORGOTTEN
    tree = held.store.tree(ANN, "c")
    assert (tree.answers, tree.begun_anew) == ({}, True)
    assert held.store.sessions(ANN) == {f"ses-{ANN}-other"}
    assert held.store.sessions("bob") == {"ses-bob-c"}
    assert held.store.tree(ANN, "other").begun_anew is False


@pytest.mark.requirement("commands:nothing-to-forget")
async def test_forget_says_where_there_is_nothing(tmp_path: Path) -> None:
    held, draft = commands(tmp_path / "db"), "open-persona/grant-draft"
    assert words_of(await say(held, "/forget")) == UNKEPT
    assert words_of(await say(held, "/forget", chat_id="temporary:1", message_id="f")) == UNKEPT
    assert words_of(await say(held, "/forget", model=draft, chat_id="c", message_id="f")) == NO_MEMORY
    held.store.remember_answer(Answer(ANN, "c", "a1", "", "izzy", "ses", "msg"))
    assert words_of(await say(held, "/forget", model=draft, chat_id="c", message_id="f")) == FORGOTTEN


@pytest.mark.requirement("commands:forget")
async def test_forget_waits_for_whoever_answers_in_the_chat(tmp_path: Path) -> None:
    chats = KeyedLocks()
    held = commands(tmp_path / "db", chats=chats, wait_s=0.05)
    held.store.note_answer(Answer(ANN, "c", "a1", "", "another-izzy"))
    async with chats.of(ANN, "c", "another-izzy"):
        outputs = await say(held, "/forget", chat_id="c", message_id="f2")
    assert isinstance(outputs[0], Status)
    assert "still running" in words_of(outputs)
    assert "a1" in held.store.answers(ANN, "c")


@dataclass
class Live:
    """A runner that is paused, or whose opencode answers nothing."""

    paused: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list)

    @property
    def client(self) -> Live:
        return self

    @property
    def spec(self) -> RunnerSpec:
        return RunnerSpec("r", ANN, "k", Path(), Path(), "", SecretStr(""), SecretStr(""))

    async def delete_session(self, session: str) -> None:
        self.asked.append(session)
        raise RunnerError("no answer")


@pytest.mark.requirement("commands:forget")
@pytest.mark.parametrize("paused", [True, False])
async def test_a_runner_that_cant_delete_the_sessions_is_ended(tmp_path: Path, paused: bool) -> None:
    live, pool = Live(paused), Pool(running=True)
    pool.live = (live,)
    held = commands(tmp_path / "db", pool)
    held.store.remember_answer(Answer(ANN, "c", "a1", "", "izzy", "ses", "msg"))
    assert words_of(await say(held, "/forget", chat_id="c", message_id="f2")) == FORGOTTEN
    assert (live.asked, pool.reset_users) == ([] if paused else ["ses"], [ANN])
