"""From opencode's events to what a turn shows: a pure translator, and the one event stream of a runner."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from sidecar.errors import RunnerError
from sidecar.openai_models import FinishReason, Usage
from sidecar.opencode_client import Json, Message, OpencodeClient

log = logging.getLogger(__name__)
RECONNECT_S = 0.2
QUEUE_EVENTS = 10_000


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
    _kinds: dict[str, Literal["answer", "reasoning"]] = field(default_factory=dict)
    _sent: dict[str, int] = field(default_factory=dict)
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
        if kind == "message.updated" and _session_of(properties) == self.session:
            self._message(properties["info"])
        elif _session_of(properties) == self.session:
            yield from self._part_or_status(str(kind), properties)

    def complete(self, messages: list[Message]) -> bool:
        """Whether the session's messages show this turn's last answer as finished."""
        ids = [message.id for message in messages]
        if self.user_message not in ids or messages[-1].role != "assistant":
            return False
        last = messages[-1].info
        time = last.get("time")
        over = isinstance(time, dict) and "completed" in time and last.get("finish") != "tool-calls"
        return over or "error" in last

    def catch_up(self, messages: list[Message]) -> Iterator[TurnEvent]:
        """What was missed while no events came, read from the session's messages; ends the turn."""
        for message in messages:
            self._message(dict(message.info))
            for part in message.parts:
                yield from self._part(dict(part))
        yield self._end()

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
        part, delta = str(properties.get("partID")), str(properties.get("delta", ""))
        if properties.get("messageID") in self._answers and part in self._kinds and properties.get("field") == "text":
            yield from self._text(part, delta)

    def _part(self, part: dict[str, object]) -> Iterator[TurnEvent]:
        if part.get("messageID") not in self._answers:
            return
        identifier, kind = str(part.get("id")), part.get("type")
        if kind in ("text", "reasoning"):
            self._kinds[identifier] = "answer" if kind == "text" else "reasoning"
            whole = str(part.get("text", ""))
            yield from self._text(identifier, whole[self._sent.get(identifier, 0) :])
        elif kind == "tool" and isinstance(part.get("state"), dict):
            yield from self._tool(part, part["state"])  # type: ignore[arg-type]

    def _text(self, part: str, piece: str) -> Iterator[TurnEvent]:
        if not piece:
            return
        kind, begun = self._kinds[part], part in self._sent
        self._sent[part] = self._sent.get(part, 0) + len(piece)
        if kind == "answer":
            if not begun and self._last_answer_part not in ("", part):
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


def _session_of(properties: dict[str, object]) -> object:
    for key in ("info", "part"):
        held = properties.get(key)
        if isinstance(held, dict) and "sessionID" in held:
            return held["sessionID"]
    return properties.get("sessionID")


def _named(error: Json) -> tuple[str, str]:
    data = error.get("data")
    return str(error.get("name", "UnknownError")), str(data.get("message", "")) if isinstance(data, dict) else ""


class EventStream:
    """The one event connection of a runner, shared by its turns; it reconnects by itself until closed.

    A subscriber receives the events of its session, and ``None`` after a gap: it then has to catch up.
    """

    def __init__(self, client: OpencodeClient) -> None:
        self._client = client
        self._subscribers: dict[str, asyncio.Queue[Json | None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()

    async def open(self, timeout_s: float = 10) -> None:
        """Returns when events flow. Raises ``RunnerError``."""
        self._task = asyncio.create_task(self._follow())
        try:
            async with asyncio.timeout(timeout_s):
                await self._connected.wait()
        except TimeoutError:
            await self.close()
            raise RunnerError(
                "The agent engine sends no events. Send the message again.", reason="runner_lost"
            ) from None

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    @contextmanager
    def subscribe(self, session: str) -> Iterator[asyncio.Queue[Json | None]]:
        queue: asyncio.Queue[Json | None] = asyncio.Queue(QUEUE_EVENTS)
        self._subscribers[session] = queue
        try:
            yield queue
        finally:
            del self._subscribers[session]

    async def _follow(self) -> None:
        while True:
            try:
                async for event in self._client.events():
                    self._connected.set()
                    self._deliver(event)
            except RunnerError as error:
                log.info("event stream: %s", error.detail)
            self._announce_gap()
            await asyncio.sleep(RECONNECT_S)

    def _deliver(self, event: Json) -> None:
        if event.get("type") == "server.connected":
            self._announce_gap()
            return
        properties = event.get("properties")
        session = _session_of(properties) if isinstance(properties, dict) else None
        queue = self._subscribers.get(session) if isinstance(session, str) else None
        if queue is None:
            return
        if queue.full():
            log.warning("a turn reads its events too slowly; it catches up from the session")
            while not queue.empty():
                queue.get_nowait()
            queue.put_nowait(None)
            return
        queue.put_nowait(event)

    def _announce_gap(self) -> None:
        for queue in self._subscribers.values():
            if not queue.full():
                queue.put_nowait(None)


async def turn_events(
    queue: asyncio.Queue[Json | None], translator: TurnEvents, client: OpencodeClient
) -> AsyncIterator[TurnEvent]:
    """The translated events of one turn up to and with ``Ended``; a gap is closed by reading the session."""
    while True:
        event = await queue.get()
        if event is None:
            messages = await client.messages(translator.session) or []
            if not translator.complete(messages):
                continue
            missed = list(translator.catch_up(messages))
        else:
            missed = list(translator.feed(event))
        for item in missed:
            yield item
            if isinstance(item, Ended):
                return
