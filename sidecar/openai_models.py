"""The OpenAI surface's shapes: requests read, responses built. Pure: ids and times come from the caller.

Requests: ``POST /v1/chat/completions`` of OpenAI's Chat Completions API, as far as a persona needs it. Fields that are
not read (``temperature``, ``tools``, …) are ignored: what a turn may do is never the body's to say.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sidecar.errors import InvalidRequest, SidecarError, TooLarge
from sidecar.fields import invalid, shown

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "content_filter"]
Json = dict[str, object]

_ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
MAX_MESSAGES: Final = 2_000
MAX_TEXT_BYTES: Final = 4 * 2**20
"""Of all messages together, in UTF-8 and without images: more than any model reads."""
_DATA_URL = re.compile(r"data:(?P<mime>image/[a-z0-9.+-]+);base64,", re.IGNORECASE)
_SURROGATES = re.compile("[\ud800-\udfff]")
_REFUSED_PARTS: Final[Mapping[str, str]] = {
    "file": "Files cannot be read here. Paste the file's text into the message.",
    "input_file": "Files cannot be read here. Paste the file's text into the message.",
    "input_audio": "Audio cannot be heard here. Send the words as text.",
}


@dataclass(frozen=True)
class Image:
    """One image as a ``data:`` URL in base64; ``mime`` is ``image/…``."""

    mime: str
    url: str


@dataclass(frozen=True)
class Message:
    """One message; text parts are joined by line breaks, images keep their order."""

    role: Role
    text: str = ""
    images: tuple[Image, ...] = ()


@dataclass(frozen=True)
class ChatRequest:
    """One chat request; the last message is the user's and holds text or an image."""

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    include_usage: bool = False

    @property
    def system_texts(self) -> tuple[str, ...]:
        """The text of every system message, wherever it stands."""
        return tuple(message.text for message in self.messages if message.role == "system" and message.text.strip())

    @property
    def history(self) -> tuple[Message, ...]:
        """What was said before the new message."""
        return tuple(message for message in self.messages[:-1] if message.role != "system")

    @property
    def new_message(self) -> Message:
        return self.messages[-1]


def parse_chat_request(body: bytes, *, max_bytes: int) -> ChatRequest:
    """The request in ``body``.

    Raises ``TooLarge`` over ``max_bytes``, ``MAX_MESSAGES`` or ``MAX_TEXT_BYTES``, else ``InvalidRequest``. Its
    ``param`` is the field's path, such as ``messages[2].content[0].type``.
    """
    if len(body) > max_bytes:
        raise TooLarge(f"The request is larger than {max_bytes} bytes. Send less text or smaller images.")
    raw = _object(_decode(body), "body")
    options = raw.get("stream_options")
    return ChatRequest(
        model=_text(raw.get("model"), "model", required=True),
        messages=_messages(raw.get("messages")),
        stream=_flag(raw.get("stream"), "stream"),
        include_usage=options is not None
        and _flag(_object(options, "stream_options").get("include_usage"), "stream_options.include_usage"),
    )


def _decode(body: bytes) -> object:
    try:
        decoded: object = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not a JSON document in UTF-8.", param="body") from None
    return decoded


def _object(value: object, path: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise invalid(path, "must be a JSON object.")
    return value


def _flag(value: object, path: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise invalid(path, "must be true or false.")
    return bool(value)


def _text(value: object, path: str, *, required: bool = False) -> str:
    if not isinstance(value, str):
        raise invalid(path, "must be a text.")
    if required and not value.strip():
        raise invalid(path, "must not be empty.")
    return _SURROGATES.sub("\ufffd", value)


def _messages(value: object) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise invalid("messages", "must be a list with at least one message.")
    if len(value) > MAX_MESSAGES:
        raise TooLarge(f"This chat has more than {MAX_MESSAGES} messages. Start a new chat.", param="messages")
    messages = tuple(_message(_object(raw, f"messages[{i}]"), f"messages[{i}]") for i, raw in enumerate(value))
    last, path = messages[-1], f"messages[{len(messages) - 1}]"
    if last.role == "assistant":
        raise InvalidRequest(
            "Continuing an answer is not possible here. Write a message instead, such as 'go on'.", param=f"{path}.role"
        )
    if last.role != "user":
        raise invalid(f"{path}.role", "the last message must be the user's.")
    if not last.text.strip() and not last.images:
        raise invalid(f"{path}.content", "the last message is empty. Write something or attach an image.")
    if sum(len(message.text.encode()) for message in messages) > MAX_TEXT_BYTES:
        raise TooLarge(
            f"The messages of this chat hold more than {MAX_TEXT_BYTES // 2**20} MiB of text. "
            "Start a new chat, or send less text at once.",
            param="messages",
        )
    return messages


def _message(raw: Mapping[str, object], path: str) -> Message:
    role = raw.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise invalid(f"{path}.role", f"must be one of {', '.join(_ROLES)}.")
    kind = _ROLES[role]
    content = raw.get("content")
    # An assistant's message that only called tools has none.
    if content is None and kind in ("assistant", "tool"):
        return Message(kind)
    if isinstance(content, str):
        return Message(kind, _text(content, path))
    if not isinstance(content, list):
        raise invalid(f"{path}.content", "must be a text or a list of parts.")
    parts = [_part(part, f"{path}.content[{i}]", kind) for i, part in enumerate(content)]
    text = "\n".join(part for part in parts if isinstance(part, str))
    return Message(kind, text, tuple(part for part in parts if isinstance(part, Image)))


def _part(value: object, path: str, role: Role) -> str | Image:
    raw = _object(value, path)
    kind = raw.get("type")
    if kind in ("text", "refusal"):
        return _text(raw.get(kind), f"{path}.{kind}")
    if kind == "image_url":
        if role == "system":
            raise invalid(path, "A system message holds text only.")
        url = f"{path}.image_url.url"
        return _image(_text(_object(raw.get("image_url"), f"{path}.image_url").get("url"), url), url)
    if isinstance(kind, str) and kind in _REFUSED_PARTS:
        raise invalid(f"{path}.type", _REFUSED_PARTS[kind])
    raise invalid(f"{path}.type", f"{shown(kind)} is unknown." if isinstance(kind, str) else "must be a text.")


def _image(url: str, path: str) -> Image:
    match = _DATA_URL.match(url)
    if match is None:
        if url[:8].lower().startswith(("http://", "https://")):
            raise invalid(path, "The agent has no internet access to fetch an image from. Attach the image itself.")
        raise invalid(path, "must be 'data:image/<type>;base64,…'.")
    if not _is_base64(url[match.end() :]):
        raise invalid(path, "the image is not valid base64.")
    return Image(mime=match["mime"].lower(), url=url)


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except ValueError:
        return False


@dataclass(frozen=True)
class Stamp:
    """What every chunk of one answer shares; ``created`` is in seconds since 1970."""

    id: str
    created: int
    model: str


@dataclass(frozen=True)
class Usage:
    """Tokens of one turn; ``prompt`` includes ``cached``, ``completion`` includes ``reasoning``."""

    prompt: int = 0
    completion: int = 0
    reasoning: int = 0
    cached: int = 0

    def as_json(self) -> Json:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning},
        }


def chunk(stamp: Stamp, *, content: str = "", reasoning: str = "", first: bool = False) -> Json:
    """One ``chat.completion.chunk``; ``first`` adds the role."""
    delta: Json = {"role": "assistant", "content": ""} if first else {}
    if content:
        delta["content"] = content
    if reasoning:
        delta["reasoning_content"] = reasoning
    return _chunk(stamp, [{"index": 0, "delta": delta, "finish_reason": None}])


def terminal_chunk(stamp: Stamp, finish_reason: FinishReason = "stop") -> Json:
    """The chunk that ends an answer."""
    return _chunk(stamp, [{"index": 0, "delta": {}, "finish_reason": finish_reason}])


def usage_chunk(stamp: Stamp, usage: Usage) -> Json:
    """The chunk without choices that ``stream_options.include_usage`` asks for, after the terminal one."""
    return _chunk(stamp, []) | {"usage": usage.as_json()}


def completion(
    stamp: Stamp, *, content: str, reasoning: str = "", finish_reason: FinishReason = "stop", usage: Usage | None = None
) -> Json:
    """The answer to a request without ``stream``."""
    message: Json = {"role": "assistant", "content": content}
    if reasoning:
        message["reasoning_content"] = reasoning
    choice = {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}
    return {
        "id": stamp.id,
        "object": "chat.completion",
        "created": stamp.created,
        "model": stamp.model,
        "choices": [choice],
        "usage": (usage or Usage()).as_json(),
    }


def status_event(description: str, *, done: bool) -> Json:
    """A status line of Open WebUI's; it shows the text and stores it outside the answer."""
    return {"event": {"type": "status", "data": {"description": description, "done": done}}}


def error_body(error: SidecarError) -> Json:
    """OpenAI's error shape. ``code`` is the reason from the closed list; ``detail`` stays out."""
    return {
        "error": {
            "message": error.message,
            "type": _error_type(error.status),
            "param": error.param,
            "code": error.reason,
        }
    }


def error_event(error: SidecarError) -> Json:
    """The same inside a stream: Open WebUI keeps the text that came before and shows the message."""
    return error_body(error)


def models_list(models: Iterable[str], *, created: int) -> Json:
    """The answer to ``GET /v1/models``."""
    data: Sequence[Json] = [
        {"id": model, "object": "model", "created": created, "owned_by": "open-persona"} for model in models
    ]
    return {"object": "list", "data": data}


def _chunk(stamp: Stamp, choices: Sequence[Json]) -> Json:
    return {
        "id": stamp.id,
        "object": "chat.completion.chunk",
        "created": stamp.created,
        "model": stamp.model,
        "choices": choices,
    }


def _error_type(status: int) -> str:
    named = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    return named.get(status, "server_error" if status >= 500 else "invalid_request_error")
