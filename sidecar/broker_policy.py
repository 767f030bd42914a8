"""What a model call of a runner may hold. Pure: a body in, the body to send or ``Denied`` out.

Everything is an allow-list, so that a feature which a vendor adds tomorrow stays off: fields of the request, kinds of
tools, kinds of input. Left out on purpose is all that acts or remembers at the provider's side: its web, file, code,
computer and MCP tools, plugins and model routing, containers, stored answers and conversations, files by id, and
addresses that the provider would fetch. Sources: the vendors' API references and what opencode 1.18.33 sends.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Final, NoReturn, TypeAlias

from sidecar.providers import Dialect

Body: TypeAlias = dict[str, object]

_SAMPLING: Final = {"model", "stream", "temperature", "top_p", "tools", "tool_choice"}
_FIELDS: Final[Mapping[Dialect, frozenset[str]]] = {
    "chat": frozenset(
        _SAMPLING
        | {"messages", "max_tokens", "max_completion_tokens", "stop", "seed", "top_k", "min_p", "presence_penalty"}
        | {
            "frequency_penalty",
            "repetition_penalty",
            "response_format",
            "parallel_tool_calls",
            "stream_options",
            "usage",
        }
        | {"reasoning", "reasoning_effort", "include_reasoning", "thinking", "enable_thinking", "chat_template_args"}
        | {"chat_template_kwargs", "verbosity", "prompt_cache_key", "prompt_cache_retention", "cache_control", "user"}
        | {"safety_identifier", "store"}
    ),
    "responses": frozenset(
        _SAMPLING
        | {"input", "instructions", "max_output_tokens", "parallel_tool_calls", "prompt_cache_key", "reasoning", "text"}
        | {"prompt_cache_retention", "safety_identifier", "store", "stream_options", "truncation", "user", "include"}
    ),
    "messages": frozenset(
        _SAMPLING
        | {"messages", "system", "max_tokens", "stop_sequences", "top_k", "thinking", "output_config", "output_format"}
        | {"metadata", "cache_control"}
    ),
}
_MESSAGE_FIELDS: Final = frozenset(
    {"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning", "reasoning_content"}
    | {"reasoning_text", "reasoning_details", "cache_control"}
)
_TOOL_FIELDS: Final = frozenset({"type", "name", "description", "parameters", "strict"})
_CLAUDE_TOOL_FIELDS: Final = frozenset(
    {
        "type",
        "name",
        "description",
        "input_schema",
        "input_examples",
        "cache_control",
        "strict",
        "eager_input_streaming",
    }
)
_INCLUDES: Final = frozenset({"reasoning.encrypted_content"})
_BETAS: Final = re.compile(
    r"(claude-code|interleaved-thinking|fine-grained-tool-streaming|prompt-caching|extended-cache-ttl|pdfs"
    r"|structured-outputs|output-128k|effort|token-efficient-tools)-[0-9-]{1,20}"
)
_VERSION: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FIELD_NAME: Final = re.compile(r"[a-z0-9_]{1,40}")


class Denied(Exception):
    """The call does not pass. ``why`` is for the audit line: words of ours and field names, never contents."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class TooBig(Denied):
    """The body is larger than ``limit`` bytes: nothing forbidden, the conversation has only grown too large."""

    def __init__(self, limit: int) -> None:
        super().__init__("body size")
        self.limit = limit


def parse_body(raw: bytes) -> Body:
    """The JSON object of a request. The caller sends this object on, not ``raw``: what is checked is what is sent."""
    try:
        body = json.loads(raw, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise Denied("json") from None
    if not isinstance(body, dict):
        raise Denied("json")
    return body


def checked(dialect: Dialect, body: Body) -> Body:
    """``body`` as it goes to the provider. Raises ``Denied``."""
    unknown = body.keys() - _FIELDS[dialect]
    if unknown:
        _deny("field", min(unknown))
    if not isinstance(body.get("model"), str) or not isinstance(body.get("stream", False), bool):
        raise Denied("model or stream")
    for tool in _list(body.get("tools"), "tools"):
        _TOOL_CHECKS[dialect](_dict(tool, "tools"))
    _check_choice(body.get("tool_choice"))
    _INPUT_CHECKS[dialect](body)
    passed = {name: value for name, value in body.items() if name != "store"}
    # Chat completions of OpenAI's store nothing by default, and other servers do not know the field.
    return {**passed, "store": False} if dialect == "responses" else passed


def passed_headers(dialect: Dialect, headers: Mapping[str, str]) -> dict[str, str]:
    """What of the caller's headers goes on; everything else is dropped."""
    if dialect != "messages":
        return {}
    version = headers.get("anthropic-version", "")
    kept = {"anthropic-version": version if _VERSION.fullmatch(version) else "2023-06-01"}
    betas = [beta.strip() for beta in headers.get("anthropic-beta", "").split(",")]
    if allowed := [beta for beta in betas if _BETAS.fullmatch(beta)]:
        kept["anthropic-beta"] = ",".join(allowed)
    return kept


def _deny(kind: str, name: object) -> NoReturn:
    shown = name if isinstance(name, str) and _FIELD_NAME.fullmatch(name) else "?"
    raise Denied(f"{kind} {shown}")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # it would be sent on as Infinity, which is not JSON
        raise ValueError
    return number


def _no_constant(_: str) -> NoReturn:
    raise ValueError


def _list(value: object, where: str) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Denied(where)
    return value


def _dict(value: object, where: str) -> Body:
    if not isinstance(value, dict):
        raise Denied(where)
    return value


def _inline(url: object, where: str) -> None:
    """An image or file lies in the request itself: an address would be fetched by the provider."""
    if not isinstance(url, str) or not url[:5].lower() == "data:":
        raise Denied(f"{where} by address")


def _only(value: Body, allowed: frozenset[str], kind: str) -> None:
    if extra := value.keys() - allowed:
        _deny(kind, min(extra))


def _chat_tool(tool: Body) -> None:
    if tool.get("type") != "function":
        _deny("tool", tool.get("type"))
    _only(tool, frozenset({"type", "function", "cache_control"}), "tool field")
    _only(_dict(tool.get("function"), "tools"), _TOOL_FIELDS - {"type"}, "tool field")


def _responses_tool(tool: Body) -> None:
    if tool.get("type") != "function":
        _deny("tool", tool.get("type"))
    _only(tool, _TOOL_FIELDS, "tool field")


def _claude_tool(tool: Body) -> None:
    if tool.get("type") not in (None, "custom"):
        _deny("tool", tool.get("type"))
    # What has no schema is not a function.
    _dict(tool.get("input_schema"), "tools")
    _only(tool, _CLAUDE_TOOL_FIELDS, "tool field")


def _check_choice(choice: object) -> None:
    if choice is None or isinstance(choice, str):
        return
    if _dict(choice, "tool_choice").get("type") not in ("function", "auto", "any", "tool", "none"):
        raise Denied("tool_choice")


def _check_chat(body: Body) -> None:
    for raw in _list(body.get("messages"), "messages"):
        message = _dict(raw, "messages")
        _only(message, _MESSAGE_FIELDS, "message field")
        for call in _list(message.get("tool_calls"), "tool_calls"):
            if _dict(call, "tool_calls").get("type", "function") != "function":
                raise Denied("tool_calls")
        _check_parts(message.get("content"), _CHAT_PARTS)


def _check_responses(body: Body) -> None:
    for wanted in _list(body.get("include"), "include"):
        if wanted not in _INCLUDES:
            raise Denied("include")
    if not isinstance(body.get("instructions", ""), str | None):
        raise Denied("instructions")
    if isinstance(body.get("input"), str):
        return
    for raw in _list(body.get("input"), "input"):
        item = _dict(raw, "input")
        kind = item.get("type", "message")
        if kind == "message":
            # Without a type, an item that has only an id is a reference to a stored one.
            if not isinstance(item.get("role"), str) or item.get("content") is None:
                raise Denied("input message")
            _check_parts(item["content"], _RESPONSES_PARTS)
        elif kind == "function_call_output":
            _check_parts(item.get("output"), _RESPONSES_PARTS)
        elif kind not in ("function_call", "reasoning"):
            _deny("input", kind)


def _check_messages(body: Body) -> None:
    _check_parts(body.get("system"), _CLAUDE_PARTS)
    for raw in _list(body.get("messages"), "messages"):
        message = _dict(raw, "messages")
        _only(message, frozenset({"role", "content"}), "message field")
        _check_parts(message.get("content"), _CLAUDE_PARTS)


Part: TypeAlias = Callable[[Body], None]


def _check_parts(content: object, known: Mapping[str, Part]) -> None:
    if content is None or isinstance(content, str):
        return
    for raw in _list(content, "content"):
        part = _dict(raw, "content")
        kind = part.get("type")
        if not isinstance(kind, str) or kind not in known:
            _deny("content", kind)
        known[kind](part)


def _plain(_: Body) -> None:
    """Nothing in it points outside the request."""


def _chat_image(part: Body) -> None:
    image = part.get("image_url")
    _inline(image.get("url") if isinstance(image, dict) else image, "image")


def _chat_file(part: Body) -> None:
    file = _dict(part.get("file"), "file")
    _only(file, frozenset({"filename", "file_data"}), "file field")
    _inline(file.get("file_data"), "file")


def _input_image(part: Body) -> None:
    _only(part, frozenset({"type", "image_url", "detail"}), "image field")
    _inline(part.get("image_url"), "image")


def _input_file(part: Body) -> None:
    _only(part, frozenset({"type", "filename", "file_data", "detail"}), "file field")
    _inline(part.get("file_data"), "file")


def _claude_source(part: Body) -> None:
    if _dict(part.get("source"), "source").get("type") not in ("base64", "text"):
        raise Denied("source by address or id")


def _claude_result(part: Body) -> None:
    _check_parts(part.get("content"), _CLAUDE_PARTS)


_CHAT_PARTS: Final[Mapping[str, Part]] = {
    "text": _plain,
    "refusal": _plain,
    "input_audio": _plain,
    "image_url": _chat_image,
    "file": _chat_file,
}
_RESPONSES_PARTS: Final[Mapping[str, Part]] = {
    "input_text": _plain,
    "output_text": _plain,
    "refusal": _plain,
    "input_image": _input_image,
    "input_file": _input_file,
}
_CLAUDE_PARTS: Final[Mapping[str, Part]] = {
    "text": _plain,
    "thinking": _plain,
    "redacted_thinking": _plain,
    "tool_use": _plain,
    "image": _claude_source,
    "document": _claude_source,
    "tool_result": _claude_result,
}
_TOOL_CHECKS: Final[Mapping[Dialect, Callable[[Body], None]]] = {
    "chat": _chat_tool,
    "responses": _responses_tool,
    "messages": _claude_tool,
}
_INPUT_CHECKS: Final[Mapping[Dialect, Callable[[Body], None]]] = {
    "chat": _check_chat,
    "responses": _check_responses,
    "messages": _check_messages,
}
