"""Open WebUI's background calls (``x-openwebui-task``): titles, tags, follow-ups. They never start a runner.

With a task model (``OPEN_PERSONA_TASK_MODEL``) one short call is made, else, and on any failure, a plain rule answers.
The answers are what Open WebUI 0.12 reads: a JSON object in the text, for most tasks.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import aiohttp
from pydantic import SecretStr

from sidecar.providers import PROVIDERS, Provider
from sidecar.settings import ProviderName, Settings

log = logging.getLogger(__name__)

DEADLINE_S: Final = 20.0
MAX_TITLE_CHARS: Final = 48
MAX_TOKENS: Final = 1000
MAX_ANSWER_BYTES: Final = 256 * 1024
MAX_JSON_CHARS: Final = 64 * 1024
MAX_SAID_CHARS: Final = 20_000
"""A title needs the first words of what was said; the rest is not looked at."""
_SPOKEN: Final = re.compile(r"^(USER|ASSISTANT): ?", re.MULTILINE)
_HIDDEN: Final = re.compile(r"<details\b.*?(</details>|\Z)|```.*?(```|\Z)|<[^<>]{0,200}>", re.DOTALL | re.IGNORECASE)
_LINK: Final = re.compile(r"!?\[([^\]]{0,200})\]\([^)]{0,2000}\)")
_MARKS: Final = re.compile(r"[*_`#>|~\[\]{}\\\"]+")


class Spoken(Protocol):
    """A message of the request."""

    @property
    def role(self) -> str: ...
    @property
    def text(self) -> str: ...


class TaskRequest(Protocol):
    """The request of a task: Open WebUI puts the whole task into its last user message."""

    @property
    def messages(self) -> Sequence[Spoken]: ...


async def run_task(
    task: str,
    request: TaskRequest,
    settings: Settings,
    keys: Mapping[ProviderName, SecretStr],
    http: aiohttp.ClientSession,
) -> str:
    """The text that answers ``task``; within ``DEADLINE_S``, and never an error."""
    prompt = next((message.text for message in reversed(request.messages) if message.role == "user"), "")
    provider, model = _task_model(settings, keys)
    if provider is not None and prompt:
        try:
            async with asyncio.timeout(DEADLINE_S):
                answer = await _ask(provider, model, prompt, settings, keys.get(provider.name), http)
            if usable := _usable(task, answer):
                return usable
            log.info("task %s: the task model's answer does not fit; answered by rule", task)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            log.info("task %s: the task model failed (%s); answered by rule", task, type(error).__name__)
    return _by_rule(task, prompt)


def _task_model(settings: Settings, keys: Mapping[ProviderName, SecretStr]) -> tuple[Provider | None, str]:
    name, _, model = settings.task_model.partition("/")
    provider = next((PROVIDERS[known] for known in settings.enabled_providers if known == name), None)
    if provider is None or not model or (provider.key == "required" and provider.name not in keys):
        return None, ""
    return provider, model


async def _ask(
    provider: Provider, model: str, prompt: str, settings: Settings, key: SecretStr | None, http: aiohttp.ClientSession
) -> str:
    """One plain call. Raises ``ValueError`` for an answer that is no answer, and what aiohttp raises."""
    claude = provider.dialect == "messages"
    limit = "max_completion_tokens" if provider.name == "openai" else "max_tokens"
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], limit: MAX_TOKENS, "stream": False}
    headers = provider.auth_headers(key) | ({"anthropic-version": "2023-06-01"} if claude else {})
    url = f"{provider.base_url(settings)}/{'messages' if claude else 'chat/completions'}"
    async with http.post(url, json=body, headers=headers, allow_redirects=False) as response:
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        raw = await response.content.read(MAX_ANSWER_BYTES)
        while len(raw) < MAX_ANSWER_BYTES and (more := await response.content.read(MAX_ANSWER_BYTES)):
            raw += more
    return _claude_text(json.loads(raw)) if claude else _chat_text(json.loads(raw))


def _chat_text(document: object) -> str:
    match document:
        case {"choices": [{"message": {"content": str(text)}}, *_]}:
            return text
    raise ValueError("no text")


def _claude_text(document: object) -> str:
    match document:
        case {"content": [*parts]}:
            return "".join(
                part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)
            )
    raise ValueError("no text")


def _usable(task: str, answer: str) -> str:
    """The answer as Open WebUI reads it; empty where it would not."""
    key = _KEYS.get(task)
    if key is None:
        return answer.strip()
    begin, end = answer.find("{"), answer.rfind("}") + 1
    if begin < 0 or not begin < end <= begin + MAX_JSON_CHARS:
        return ""
    try:
        document = json.loads(answer[begin:end])
    except (ValueError, RecursionError):
        return ""
    value = document.get(key) if isinstance(document, dict) else None
    if not isinstance(value, list if key in _LISTS else str) or (key == "title" and not value):
        return ""
    return json.dumps({key: value}, ensure_ascii=False)


def _by_rule(task: str, prompt: str) -> str:
    rule = _RULES.get(task)
    if rule is None:
        return "{}"
    made = rule(prompt)
    return made if isinstance(made, str) else json.dumps(made, ensure_ascii=False)


def _title(prompt: str) -> Mapping[str, object]:
    """The first words of the first thing that the user said."""
    text = _HIDDEN.sub(" ", _first_said(prompt)[:MAX_SAID_CHARS])
    words = " ".join(_MARKS.sub("", _LINK.sub(r"\1", text)).split())
    words = "".join(char for char in words if char.isprintable())
    if len(words) > MAX_TITLE_CHARS:
        words = words[:MAX_TITLE_CHARS].rsplit(" ", 1)[0].rstrip(" ,;:.-") + "…"
    return {"title": words or "New Chat"}


def _first_said(prompt: str) -> str:
    """Open WebUI writes the chat as ``USER: …`` and ``ASSISTANT: …`` between two tags."""
    _, opened, rest = prompt.partition("<chat_history>")
    history = rest.rpartition("</chat_history>")[0] or rest if opened else prompt
    turns = _SPOKEN.split(history)
    for role, text in zip(turns[1::2], turns[2::2], strict=False):
        if role == "USER" and text.strip():
            return text
    return "" if len(turns) > 1 else history


_KEYS: Final[Mapping[str, str]] = {
    "title_generation": "title",
    "tags_generation": "tags",
    "follow_up_generation": "follow_ups",
    "query_generation": "queries",
    "image_prompt_generation": "prompt",
    "autocomplete_generation": "text",
}
_LISTS: Final = frozenset({"tags", "follow_ups", "queries"})
_RULES: Final[Mapping[str, Callable[[str], Mapping[str, object] | str]]] = {
    "title_generation": _title,
    "tags_generation": lambda _: {"tags": ["General"]},
    "follow_up_generation": lambda _: {"follow_ups": []},
    "query_generation": lambda _: {"queries": []},
    "image_prompt_generation": lambda prompt: {"prompt": _first_said(prompt).strip()},
    "autocomplete_generation": lambda _: {"text": ""},
    "emoji_generation": lambda _: "💬",
    "function_calling": lambda _: {"tool_calls": []},
    "moa_response_generation": lambda _: "The answers were not merged: this deployment has no task model.",
}
