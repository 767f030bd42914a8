"""What a backend answered, checked and brought into the runner's protocol era and size.

Only known fields are passed on, in the types that the protocol gives them: a stranger's server can put words into a
result, but not break the runner's client.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from hub.errors import CallError
from hub.gateway_fronts import SERVER_KEY
from hub.gateway_messages import JsonObject, encoded
from hub.outcomes import Outcome
from hub.redaction import NOTHING, Redaction

MARKER_ROOM = 200
"""Bytes of ``max_result_bytes`` that are kept for the marker."""


@dataclass(frozen=True)
class Shaped:
    """A result as JSON, ready to be sent."""

    body: bytes
    outcome: Outcome


def shaped(result: JsonObject, title: str, *, limit: int, modern: bool, redaction: Redaction = NOTHING) -> Shaped:
    """``result`` for a runner of this era, in at most ``limit`` bytes, without what ``redaction`` takes out.

    What is too large loses its structured form first, then content from the end, and says so in its last block.

    Raises:
        CallError: ``bad_answer``: it is not the result of a tool call, or wants what this runner can't do.
    """
    kind = result.get("resultType", "complete")
    if kind == "input_required" and modern:
        return _whole_or_refused(_picked(result, ("inputRequests", "requestState")), title, limit, redaction)
    if kind != "complete":
        raise CallError("bad_answer", f"{title} asks for more input in a way that is not supported here.")
    good = _checked(result, title)
    outcome: Outcome = "tool_error" if good["isError"] else "ok"
    if modern:
        good["resultType"] = "complete"
    body = encoded(good)
    if (clean := redaction.of_json(body)) is not body:
        body, good = clean, json.loads(clean)
    if len(body) <= limit:
        return Shaped(body, outcome)
    size = len(body)
    for dropped in ("structuredContent", "_meta"):
        good.pop(dropped, None)
    if len(body := encoded(good)) > limit:
        good["content"] = _cut(good["content"], limit - MARKER_ROOM - 60, _marker(size, limit))
        body = encoded(good)
    return Shaped(body, "cut" if outcome == "ok" else outcome)


def error_result(text: str, *, modern: bool) -> bytes:
    """A tool error that the model reads."""
    result: dict[str, object] = {"content": [{"type": "text", "text": text}], "isError": True}
    if modern:
        result["resultType"] = "complete"
    return encoded(result)


def _checked(result: JsonObject, title: str) -> dict[str, object]:
    content = result.get("content")
    if not isinstance(content, list) or not all(_is_block(block) for block in content):
        raise CallError("bad_answer", f"{title} answered with something that is no tool result. Tell the user so.")
    good: dict[str, object] = {"content": content, "isError": result.get("isError") is True}
    if isinstance(result.get("structuredContent"), dict):
        good["structuredContent"] = result["structuredContent"]
    meta = result.get("_meta")
    if isinstance(meta, dict) and (kept := {key: meta[key] for key in meta if key != SERVER_KEY}):
        good["_meta"] = kept
    return good


_TEXTS: Mapping[str, tuple[str, ...]] = {
    "text": ("text",),
    "image": ("data", "mimeType"),
    "audio": ("data", "mimeType"),
    "resource_link": ("uri", "name"),
}


def _is_block(block: object) -> bool:
    if not isinstance(block, dict):
        return False
    if block.get("type") == "resource":
        inner = block.get("resource")
        return isinstance(inner, dict) and isinstance(inner.get("uri"), str)
    needed = _TEXTS.get(str(block.get("type")))
    return needed is not None and all(isinstance(block.get(key), str) for key in needed)


def _cut(content: object, room: int, marker: str) -> list[object]:
    """The blocks that fit into ``room`` bytes, the last text among them shortened, and the marker."""
    kept: list[object] = []
    for block in content if isinstance(content, list) else []:
        size = len(encoded(block)) + 1
        if size > room:
            if block["type"] == "text" and (text := _shortened(block["text"], room - 40)):
                kept.append({"type": "text", "text": text})
            break
        kept.append(block)
        room -= size
    return [*kept, {"type": "text", "text": marker}]


def _shortened(text: str, room: int) -> str:
    """The longest start of ``text``, about, whose JSON has at most ``room`` bytes."""
    text = text[: max(room, 0)]
    while text and (size := len(encoded(text))) > room:
        text = text[: min(len(text) - 1, len(text) * room // size)]
    return text


def _marker(size: int, limit: int) -> str:
    return (
        f"[Cut by Open Persona: the result has {size} bytes, and at most {limit} are passed on. Ask for less: fewer "
        "items, a narrower filter or the next page.]"
    )


def _picked(result: JsonObject, keys: tuple[str, ...]) -> dict[str, object]:
    return {"resultType": "input_required", **{key: result[key] for key in keys if key in result}}


def _whole_or_refused(result: dict[str, object], title: str, limit: int, redaction: Redaction) -> Shaped:
    body = redaction.of_json(encoded(result))
    if len(body) > limit:
        raise CallError("too_large", f"{title} asks for input in more words than are passed on.")
    return Shaped(body, "ok")
