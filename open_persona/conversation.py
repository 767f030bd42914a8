"""A conversation at the terminal: one chat id, a chain of message ids, and the words so far.

Words and ids may come from a command line in any bytes: what a request can't hold is replaced or refused here.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from open_persona.sidecar_api import ChatMessage, TurnRequest

BASE_MODELS = "open-persona/"


def new_id() -> str:
    """An id as Open WebUI makes them."""
    return str(uuid.uuid4())


def readable(text: str) -> str:
    """``text`` with U+FFFD for each byte of a command line that is no UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@dataclass
class Conversation:
    """One chat. ``persona`` is a template's id, ``build`` or ``plan``; ``keep`` is told the id of each answer."""

    persona: str
    user_id: str
    meta: Mapping[str, JsonValue]
    chat_id: str = field(default_factory=new_id)
    messages: list[ChatMessage] = field(default_factory=list)
    last_answer_id: str = ""
    keep: Callable[[str], None] = lambda _: None

    def ask(self, text: str) -> TurnRequest:
        """The next turn. Nothing is kept until :meth:`answered`, so that a turn that failed leaves no trace."""
        return TurnRequest(
            model=f"{BASE_MODELS}{readable(self.persona)}",
            messages=(*self.messages, ChatMessage("user", readable(text))),
            user_id=self.user_id,
            chat_id=self.chat_id,
            answer_id=new_id(),
            message_id=new_id(),
            parent_id=self.last_answer_id,
            meta=self.meta,
        )

    def answered(self, turn: TurnRequest, answer: str) -> None:
        """Keeps the question and its answer."""
        self.messages = [*turn.messages, ChatMessage("assistant", answer)]
        self.last_answer_id = turn.answer_id
        self.keep(turn.answer_id)
