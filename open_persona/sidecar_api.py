"""The sidecar as the command sees it: one streamed turn, over the same OpenAI surface and headers as Open WebUI's.

Stream: ``chat.completion.chunk`` events, ``{"event": {"type": "status", …}}`` between them, ``{"error": …}`` when the
turn failed, comments as heartbeat, ``[DONE]`` last.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import httpx
from pydantic import JsonValue, SecretStr

from open_persona.errors import ServiceUnreachable

SILENCE_S = 60.0
"""Longest silence inside a stream; the sidecar's heartbeat comes every 10 s."""

OPERATE_S = 150.0
"""An operator's restart of a runner takes as long as its start may."""

DATA = "data:"
DONE = "[DONE]"


@dataclass(frozen=True)
class ChatMessage:
    """One message of the conversation so far."""

    role: Literal["user", "assistant"]
    content: str

    def as_json(self) -> dict[str, JsonValue]:
        """OpenAI's shape."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True)
class TurnRequest:
    """One turn. ``model`` is a base model (``open-persona/izzy``), ``meta`` what an admin would set for the persona.

    ``answer_id`` is the answer that is being made, ``message_id`` the user's message, ``parent_id`` the answer that it
    follows (empty for the first): with them Izzy finds her session.
    """

    model: str
    messages: tuple[ChatMessage, ...]
    user_id: str
    chat_id: str
    answer_id: str
    message_id: str
    parent_id: str = ""
    meta: Mapping[str, JsonValue] = field(default_factory=dict)

    def headers(self) -> dict[str, str]:
        """The headers of the sidecar's connection."""
        meta = base64.b64encode(json.dumps(dict(self.meta)).encode()).decode()
        named = {
            "x-openwebui-user-id": self.user_id,
            "x-openwebui-chat-id": self.chat_id,
            "x-openwebui-message-id": self.answer_id,
            "x-openwebui-user-message-id": self.message_id,
            "x-openwebui-user-message-parent-id": self.parent_id,
            "x-openpersona-meta-b64": meta,
        }
        return {name: value for name, value in named.items() if value}

    def body(self) -> dict[str, JsonValue]:
        """The body of the chat-completions request."""
        return {"model": self.model, "stream": True, "messages": [message.as_json() for message in self.messages]}


@dataclass(frozen=True)
class Words:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True)
class Progress:
    """A status line; ``done``: the step that it speaks of is over."""

    description: str
    done: bool


@dataclass(frozen=True)
class Failed:
    """The turn failed; the message is for the user."""

    message: str


Event = Words | Progress | Failed


def meta_for(integrations: tuple[str, ...]) -> dict[str, JsonValue]:
    """The meta that switches on exactly these integrations."""
    return {"integrations": {name: {"enabled": True} for name in integrations}}


def read_event(line: str) -> Event | None:
    """What one line of the stream says; ``None`` for heartbeats, blank lines and bookkeeping."""
    if not line.startswith(DATA) or (payload := line.removeprefix(DATA).strip()) == DONE:
        return None
    try:
        document: JsonValue = json.loads(payload)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    if error := document.get("error"):
        return Failed(_error_message(error))
    return _status(document.get("event")) or _words(document.get("choices"))


def _status(event: JsonValue) -> Progress | None:
    data = event.get("data") if isinstance(event, dict) and event.get("type") == "status" else None
    return Progress(str(data.get("description", "")), bool(data.get("done"))) if isinstance(data, dict) else None


def _words(choices: JsonValue) -> Words | None:
    first = choices[0] if isinstance(choices, list) and choices else None
    delta = first.get("delta") if isinstance(first, dict) else None
    text = delta.get("content") if isinstance(delta, dict) else None
    return Words(text) if isinstance(text, str) and text else None


def _error_message(error: JsonValue) -> str:
    return str(error.get("message", "unknown")) if isinstance(error, dict) else str(error)


class SidecarApi:
    """``http`` is shared and stays the caller's."""

    def __init__(self, url: str, http: httpx.AsyncClient, api_key: SecretStr) -> None:
        self._url = url
        self._http = http
        self._key = api_key

    async def stream(self, turn: TurnRequest) -> AsyncGenerator[Event, None]:
        """The turn's events as they come; a refusal is one ``Failed``.

        Raises ``ServiceUnreachable`` when the sidecar does not answer, falls silent or cuts the stream before its end.
        """
        timeout = httpx.Timeout(5, read=SILENCE_S)
        ended = False
        try:
            async with self._http.stream(
                "POST",
                f"{self._url}/v1/chat/completions",
                json=turn.body(),
                headers=self._headers(turn),
                timeout=timeout,
            ) as response:
                if response.status_code != httpx.codes.OK:
                    yield Failed(_refusal(response.status_code, await response.aread()))
                    return
                async for line in response.aiter_lines():
                    ended = ended or line.strip() == f"{DATA} {DONE}"
                    if (event := read_event(line)) is not None:
                        yield event
        except httpx.HTTPError as error:
            raise self._absent(error) from None
        if not ended:
            raise ServiceUnreachable("The sidecar ended in the middle of the answer. Send the message again.")

    async def config(self, turn: TurnRequest) -> JsonValue:
        """The opencode config that this turn would get.

        Raises ``ServiceUnreachable``, with the sidecar's own words when it refuses the turn.
        """
        url = f"{self._url}/v1/open-persona/config"
        try:
            answer = await self._http.post(url, json=turn.body(), headers=self._headers(turn))
        except httpx.HTTPError as error:
            raise self._absent(error) from None
        if answer.status_code != httpx.codes.OK:
            raise ServiceUnreachable(_refusal(answer.status_code, answer.content))
        document: JsonValue = answer.json()
        return document

    async def usage(self, days: int) -> JsonValue:
        """The token usage of the last ``days`` days.

        Raises ``ServiceUnreachable``, with the sidecar's own words when it refuses.
        """
        try:
            answer = await self._http.get(
                f"{self._url}/v1/open-persona/usage", params={"days": days}, headers=self._authorization
            )
        except httpx.HTTPError as error:
            raise self._absent(error) from None
        if answer.status_code != httpx.codes.OK:
            raise ServiceUnreachable(_refusal(answer.status_code, answer.content))
        document: JsonValue = answer.json()
        return document

    async def ask(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, text: bool = False
    ) -> JsonValue:
        """What one of the operator's routes answers: JSON, or ``text`` as it is.

        Raises ``ServiceUnreachable``, with the sidecar's own words when it refuses.
        """
        answer = await self._operate(method, path, params)
        if answer.status_code != httpx.codes.OK:
            raise ServiceUnreachable(_refusal(answer.status_code, answer.content))
        document: JsonValue = answer.text if text else answer.json()
        return document

    async def refusal(self, method: str, path: str, *, params: Mapping[str, str] | None = None) -> str:
        """Does something, and returns why not; empty when it is done. Raises ``ServiceUnreachable``."""
        answer = await self._operate(method, path, params)
        return "" if answer.status_code == httpx.codes.OK else _refusal(answer.status_code, answer.content)

    async def _operate(self, method: str, path: str, params: Mapping[str, str] | None) -> httpx.Response:
        try:
            return await self._http.request(
                method, f"{self._url}{path}", params=params, headers=self._authorization, timeout=OPERATE_S
            )
        except httpx.HTTPError as error:
            raise self._absent(error) from None

    @property
    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key.get_secret_value()}"}

    def _headers(self, turn: TurnRequest) -> dict[str, str]:
        return {**turn.headers(), **self._authorization}

    def _absent(self, error: httpx.HTTPError) -> ServiceUnreachable:
        cause = type(error).__name__
        return ServiceUnreachable(
            f"The sidecar does not answer at {self._url} ({cause}). Start it with 'open-persona up'."
        )


def _refusal(status: int, body: bytes) -> str:
    try:
        document = json.loads(body)
    except ValueError:
        document = {}
    error = document.get("error") if isinstance(document, dict) else None
    return _error_message(error) if error else f"The sidecar answered {status}."
