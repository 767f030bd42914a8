"""From opencode's events to what a turn shows: a pure translator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from sidecar.openai_models import FinishReason, Usage
from sidecar.opencode_client import Json, Message
from sidecar.text_parts import TextPart


@dataclass(frozen=True)
class Text:
    """A piece of the answer, or of the reasoning before it."""

    text: str
    kind: Literal["answer", "reasoning"] = "answer"


@dataclass(frozen=True)
class Tool:
    """A tool call changed its state; ``name`` is ``<integration>_<tool>`` or opencode's own."""

    call_id: str
    name: str
    state: Literal["running", "completed", "error"]


@dataclass(frozen=True)
class Retry:
    """The provider failed and opencode waits before it asks again."""

    attempt: int


@dataclass(frozen=True)
class Ended:
    """Nothing more comes. ``error`` is opencode's own name for what went wrong, ``message`` its words (for the log)."""

    error: str = ""
    message: str = ""


TurnEvent = Text | Tool | Retry | Ended


@dataclass
class TurnEvents:
    """Translates the events of one turn: those of ``session`` from the user message ``user_message`` on.

    What comes before that message (a late ``session.idle`` of the turn before) is passed over.
    """

    session: str
    user_message: str
    answer_id: str = ""
    finish: FinishReason = "stop"
    _begun: bool = False
    _busy: bool = False
    _done: bool = False
    _error: tuple[str, str] = ("", "")
    _texts: dict[str, TextPart] = field(default_factory=dict)
    _tools: dict[str, str] = field(default_factory=dict)
    _answers: set[str] = field(default_factory=set)
    _tokens: dict[str, Usage] = field(default_factory=dict)
    _last_answer_part: str = ""

    @property
    def usage(self) -> Usage:
        """Tokens of the turn, summed over its steps."""
        steps = self._tokens.values()
        return Usage(
            prompt=sum(step.prompt for step in steps),
            completion=sum(step.completion for step in steps),
            reasoning=sum(step.reasoning for step in steps),
            cached=sum(step.cached for step in steps),
        )

    def feed(self, event: Json) -> Iterator[TurnEvent]:
        """Yields what the event means for the user; nothing after ``Ended``."""
        properties = event.get("properties")
        if self._done or not isinstance(properties, dict):
            return
        kind = event.get("type")
        if kind == "message.updated" and session_of(properties) == self.session:
            self._message(properties["info"])
        elif session_of(properties) == self.session:
            yield from self._part_or_status(str(kind), properties)

    def catch_up(self, messages: list[Message]) -> Iterator[TurnEvent]:
        """What was missed while no events came, read from the session's messages; ends it if they show its end."""
        for message in messages:
            self._message(dict(message.info))
            for part in message.parts:
                yield from self._part(dict(part))
        for text in self._texts.values():
            text.lossy = True
        if self._complete(messages):
            yield self._end()

    def _complete(self, messages: list[Message]) -> bool:
        """Whether the session's messages show this turn's last answer as finished."""
        ids = [message.id for message in messages]
        if self._done or self.user_message not in ids or messages[-1].role != "assistant":
            return False
        last = messages[-1].info
        time = last.get("time")
        over = isinstance(time, dict) and "completed" in time and last.get("finish") != "tool-calls"
        return over or "error" in last

    def _message(self, info: dict[str, object]) -> None:
        if info.get("id") == self.user_message:
            self._begun = True
        if not self._begun or info.get("role") != "assistant" or info.get("agent") == "compaction":
            return
        identifier = str(info["id"])
        self._answers.add(identifier)
        self.answer_id = max(self.answer_id, identifier)
        tokens = info.get("tokens")
        if isinstance(tokens, dict):
            self._tokens[identifier] = _usage(tokens)
        if info.get("finish") == "length":
            self.finish = "length"
        error = info.get("error")
        if isinstance(error, dict):
            self._error = _named(error)

    def _part_or_status(self, kind: str, properties: dict[str, object]) -> Iterator[TurnEvent]:
        if kind == "message.part.delta":
            yield from self._delta(properties)
        elif kind == "message.part.updated" and isinstance(properties.get("part"), dict):
            yield from self._part(properties["part"])  # type: ignore[arg-type]
        elif kind == "session.status" and isinstance(properties.get("status"), dict):
            yield from self._status(properties["status"])  # type: ignore[arg-type]
        elif kind == "session.error":
            error = properties.get("error")
            self._error = _named(error if isinstance(error, dict) else {})
            if not self._begun:  # an unknown agent or model: no message and no idle ever follow
                yield self._end()
        elif kind == "session.idle" and self._begun and self._busy:
            yield self._end()

    def _status(self, status: dict[str, object]) -> Iterator[TurnEvent]:
        if status.get("type") == "busy" and self._begun:
            self._busy = True
        elif status.get("type") == "retry" and self._begun:
            attempt = status.get("attempt")
            yield Retry(attempt if isinstance(attempt, int) else 1)

    def _delta(self, properties: dict[str, object]) -> Iterator[TurnEvent]:
        part = str(properties.get("partID"))
        if properties.get("messageID") in self._answers and part in self._texts and properties.get("field") == "text":
            yield from self._text(part, self._texts[part].delta(str(properties.get("delta", ""))))

    def _part(self, part: dict[str, object]) -> Iterator[TurnEvent]:
        if part.get("messageID") not in self._answers:
            return
        identifier, kind = str(part.get("id")), part.get("type")
        if kind in ("text", "reasoning"):
            text = self._texts.setdefault(identifier, TextPart("answer" if kind == "text" else "reasoning"))
            yield from self._text(identifier, text.whole(str(part.get("text", ""))))
        elif kind == "tool" and isinstance(part.get("state"), dict):
            yield from self._tool(part, part["state"])  # type: ignore[arg-type]

    def _text(self, part: str, piece: str) -> Iterator[TurnEvent]:
        if not piece:
            return
        kind = self._texts[part].kind
        if kind == "answer":
            if self._last_answer_part not in ("", part):
                piece = "\n\n" + piece
            self._last_answer_part = part
        yield Text(piece, kind)

    def _tool(self, part: dict[str, object], state: dict[str, object]) -> Iterator[TurnEvent]:
        call, status = str(part.get("callID")), state.get("status")
        if status in ("running", "completed", "error") and self._tools.get(call) != status:
            self._tools[call] = str(status)
            yield Tool(call, str(part.get("tool")), status)

    def _end(self) -> Ended:
        self._done = True
        return Ended(*self._error)


def _usage(tokens: Json) -> Usage:
    """opencode counts cached input and reasoning apart; OpenAI's figures include them."""
    cache = tokens.get("cache")
    counts = {**tokens, **(cache if isinstance(cache, dict) else {})}
    number = {key: int(value) for key, value in counts.items() if isinstance(value, int | float)}
    cached, reasoning = number.get("read", 0), number.get("reasoning", 0)
    return Usage(
        prompt=number.get("input", 0) + cached + number.get("write", 0),
        completion=number.get("output", 0) + reasoning,
        reasoning=reasoning,
        cached=cached,
    )


def session_of(properties: dict[str, object]) -> object:
    for key in ("info", "part"):
        held = properties.get(key)
        if isinstance(held, dict) and "sessionID" in held:
            return held["sessionID"]
    return properties.get("sessionID")


def _named(error: Json) -> tuple[str, str]:
    data = error.get("data")
    return str(error.get("name", "UnknownError")), str(data.get("message", "")) if isinstance(data, dict) else ""
