"""``--chat``: a later command finds the answer that it follows."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from rich.console import Console

from open_persona import chats
from open_persona.chat import chat
from open_persona.chats import ChatNote
from open_persona.conversation import Conversation
from open_persona.errors import HomeRefused
from open_persona.sidecar_api import SidecarApi
from sidecar.identity import parse_identity
from tests.fakes.asgi_server import serve_app
from tests.open_persona.stand_ins import KEY, SidecarScript


@pytest.fixture
def script() -> SidecarScript:
    return SidecarScript(lines=['data: {"choices": [{"delta": {"content": "hi"}}]}'])


@pytest.fixture
async def sidecar(script: SidecarScript) -> AsyncIterator[SidecarApi]:
    async with serve_app(script.app()) as url, httpx.AsyncClient(trust_env=False) as http:
        yield SidecarApi(url, http, SecretStr(KEY))


async def say(sidecar: SidecarApi, note: ChatNote, words: str) -> None:
    """One command with ``--chat``."""
    conversation = Conversation("izzy", "ann", {}, chat_id="X1", last_answer_id=note.last_answer(), keep=note.keep)
    await chat(sidecar, conversation, None, words, Console(quiet=True))


@pytest.mark.requirement("chat:goes-on")
async def test_a_later_command_follows_the_last_answer_and_a_failed_turn_is_passed_over(
    tmp_path: Path, sidecar: SidecarApi, script: SidecarScript
) -> None:
    await say(sidecar, ChatNote(tmp_path, "ann", "X1"), "one")
    good = list(script.lines)
    script.lines = ['data: {"error": {"message": "no"}}']
    await say(sidecar, ChatNote(tmp_path, "ann", "X1"), "two")
    script.lines = good
    await say(sidecar, ChatNote(tmp_path, "ann", "X1"), "three")
    first, second, third = [parse_identity(headers) for headers, _ in script.seen]
    assert (first.parent_message_id, second.parent_message_id) == ("", first.message_id)
    assert third.parent_message_id == first.message_id
    assert ChatNote(tmp_path, "ann", "X1").last_answer() == third.message_id
    assert ChatNote(tmp_path, "bob", "X1").last_answer() == ChatNote(tmp_path, "ann", "X2").last_answer() == ""


def test_the_notes_are_private_and_hold_no_words(tmp_path: Path) -> None:
    ChatNote(tmp_path / "home", "ann", "X1").keep("answer-1")
    [note] = (tmp_path / "home" / "chats").iterdir()
    assert note.read_text() == "answer-1"
    assert stat.S_IMODE(note.stat().st_mode) == 0o600


def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chats, "MOST", 3)
    for number in range(5):
        ChatNote(tmp_path, "ann", f"X{number}").keep(f"a{number}")
        for path in (tmp_path / "chats").iterdir():
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 10))
    assert [ChatNote(tmp_path, "ann", f"X{number}").last_answer() for number in range(5)] == ["", "", "a2", "a3", "a4"]


@pytest.mark.parametrize("content", ["", "a\nb", "\x00", "é" * 400])
def test_a_broken_note_is_none(tmp_path: Path, content: str) -> None:
    ChatNote(tmp_path, "ann", "X1").keep("a1")
    [note] = (tmp_path / "chats").iterdir()
    note.write_text(content)
    assert ChatNote(tmp_path, "ann", "X1").last_answer() == ""


def test_a_note_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "chats").write_text("")
    with pytest.raises(HomeRefused, match="can't be written"):
        ChatNote(tmp_path, "ann", "X1").keep("a1")
    with pytest.raises(HomeRefused, match="can't be read"):
        ChatNote(tmp_path, "ann", "X1").last_answer()
