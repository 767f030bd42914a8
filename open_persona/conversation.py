"""A conversation at the terminal: one chat id, a chain of message ids, and the words so far."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from open_persona.sidecar_api import ChatMessage, TurnRequest

BASE_MODELS = "open-persona/"


def new_id() -> str:
    """An id as Open WebUI makes them."""
    return str(uuid.uuid4())


@dataclass
class Conversation:
    """One chat. ``persona`` is a template's id, ``build`` or ``plan``."""

    persona: str
    user_id: str
    meta: Mapping[str, JsonValue]
    chat_id: str = field(default_factory=new_id)
    messages: list[ChatMessage] = field(default_factory=list)
    last_answer_id: str = ""

    def ask(self, text: str) -> TurnRequest:
        """The next turn. Nothing is kept until :meth:`answered`, so that a turn that failed leaves no trace."""
        return TurnRequest(
            model=f"{BASE_MODELS}{self.persona}",
            messages=(*self.messages, ChatMessage("user", text)),
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
