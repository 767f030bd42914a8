"""The streaming and plain answer shapes of the three model APIs, built from one scripted reply.

Sources: the vendors' public API references for chat completions and Responses (OpenAI) and messages (Anthropic).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Dialect = Literal["chat", "responses", "messages"]
Json = Mapping[str, object]


@dataclass(frozen=True)
class ToolCall:
    """One function call of the model; ``arguments`` is an object, or raw text to send as it is."""

    name: str
    arguments: Mapping[str, object] | str = "{}"

    @property
    def text(self) -> str:
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


@dataclass(frozen=True)
class Content:
    """What a reply says, apart from how the wire behaves. ``serial`` makes its ids unique."""

    text: Sequence[str]
    reasoning: Sequence[str]
    tools: Sequence[ToolCall]
    tokens_in: int
    tokens_out: int
    model: str
    serial: int
    usage: bool = True
    openrouter: bool = False


@dataclass(frozen=True)
class Frame:
    """One server-sent event. ``delta`` marks those that carry text, reasoning or tool arguments."""

    data: bytes
    delta: bool = False


def frames(dialect: Dialect, content: Content) -> Iterator[Frame]:
    """The whole stream of a successful answer, terminal marker included."""
    return {"chat": _chat, "responses": _responses, "messages": _messages}[dialect](content)


def _data(payload: object, *, delta: bool = False) -> Frame:
    return Frame(f"data: {json.dumps(payload)}\n\n".encode(), delta)


def _chat(content: Content) -> Iterator[Frame]:
    def chunk(delta: Json, finish: str | None = None) -> Frame:
        choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        carries = bool({"content", "reasoning", "reasoning_content", "tool_calls"} & {k for k, v in delta.items() if v})
        return _data({**head, "choices": choices}, delta=carries)

    head = {
        "id": f"chatcmpl-{content.serial}",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": content.model,
    }
    yield chunk({"role": "assistant", "content": ""})
    for piece in content.reasoning:
        if content.openrouter:
            details = [{"type": "reasoning.text", "text": piece, "index": 0, "format": "unknown"}]
            yield chunk({"content": "", "reasoning": piece, "reasoning_details": details})
        else:
            yield chunk({"reasoning_content": piece})
    for piece in content.text:
        yield chunk({"content": piece})
    for index, call in enumerate(content.tools):
        function = {"name": call.name, "arguments": ""}
        yield chunk(
            {
                "tool_calls": [
                    {"index": index, "id": f"call_{content.serial}_{index}", "type": "function", "function": function}
                ]
            }
        )
        yield chunk({"tool_calls": [{"index": index, "function": {"arguments": call.text}}]})
    yield chunk({}, "tool_calls" if content.tools else "stop")
    if content.usage:
        yield _data({**head, "choices": [], "usage": chat_usage(content)})
    yield Frame(b"data: [DONE]\n\n")


def chat_usage(content: Content) -> Json:
    total = content.tokens_in + content.tokens_out
    return {"prompt_tokens": content.tokens_in, "completion_tokens": content.tokens_out, "total_tokens": total}


def _responses(content: Content) -> Iterator[Frame]:
    sequence = itertools.count()

    def event(kind: str, fields: Json, *, delta: bool = False) -> Frame:
        body = json.dumps({"type": kind, "sequence_number": next(sequence), **fields})
        return Frame(f"event: {kind}\ndata: {body}\n\n".encode(), delta)

    shell = {**responses_body(content), "status": "in_progress", "output": [], "usage": None}
    yield event("response.created", {"response": shell})
    yield event("response.in_progress", {"response": shell})
    for index, item in enumerate(_response_items(content)):
        opened = {key: _EMPTIED.get(key, value) for key, value in item.items()}
        yield event("response.output_item.added", {"output_index": index, "item": opened})
        for kind, fields in _item_events(content, item):
            place = {"item_id": item["id"], "output_index": index}
            yield event(f"response.{kind}", {**place, **fields}, delta=kind.endswith(".delta"))
        yield event("response.output_item.done", {"output_index": index, "item": {**item, "status": "completed"}})
    yield event("response.completed", {"response": responses_body(content)})


_EMPTIED: Json = {"summary": [], "content": [], "arguments": ""}


def _item_events(content: Content, item: Json) -> Iterator[tuple[str, Json]]:
    """The events between an item's ``added`` and its ``done``: kind below ``response.`` and fields."""
    if item["type"] == "function_call":
        yield "function_call_arguments.delta", {"delta": item["arguments"]}
        yield "function_call_arguments.done", {"arguments": item["arguments"]}
        return
    thought = item["type"] == "reasoning"
    pieces = content.reasoning if thought else content.text
    at = {"summary_index": 0} if thought else {"content_index": 0}
    part: dict[str, object] = {"type": "summary_text"} if thought else {"type": "output_text", "annotations": []}
    outer, inner = ("reasoning_summary_part", "reasoning_summary_text") if thought else ("content_part", "output_text")
    yield f"{outer}.added", {**at, "part": {**part, "text": ""}}
    for piece in pieces:
        yield f"{inner}.delta", {**at, "delta": piece}
    yield f"{inner}.done", {**at, "text": "".join(pieces)}
    yield f"{outer}.done", {**at, "part": {**part, "text": "".join(pieces)}}


def _response_items(content: Content) -> list[Json]:
    items: list[Json] = []
    if content.reasoning:
        summary = [{"type": "summary_text", "text": "".join(content.reasoning)}]
        sealed = {"encrypted_content": f"sealed-{content.serial}"}
        items.append({"id": f"rs_{content.serial}", "type": "reasoning", "summary": summary, **sealed})
    if content.text:
        part = {"type": "output_text", "text": "".join(content.text), "annotations": []}
        items.append(
            {
                "id": f"msg_{content.serial}",
                "type": "message",
                "role": "assistant",
                "status": "in_progress",
                "content": [part],
            }
        )
    for index, call in enumerate(content.tools):
        ids = {
            "id": f"fc_{content.serial}_{index}",
            "call_id": f"call_{content.serial}_{index}",
            "status": "in_progress",
        }
        items.append({**ids, "type": "function_call", "name": call.name, "arguments": call.text})
    return items


def responses_body(content: Content) -> Json:
    return {
        "id": f"resp_{content.serial}",
        "object": "response",
        "created_at": 1_760_000_000,
        "status": "completed",
        "model": content.model,
        "output": [{**item, "status": "completed"} for item in _response_items(content)],
        "usage": {
            "input_tokens": content.tokens_in,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": content.tokens_out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": content.tokens_in + content.tokens_out,
        },
        "error": None,
        "incomplete_details": None,
    }


def _messages(content: Content) -> Iterator[Frame]:
    def event(kind: str, *, carries: bool = False, **fields: object) -> Frame:
        body = json.dumps({"type": kind, **fields})
        return Frame(f"event: {kind}\ndata: {body}\n\n".encode(), carries)

    def block(index: int, start: Json, deltas: Sequence[Json]) -> Iterator[Frame]:
        yield event("content_block_start", index=index, content_block=start)
        for delta in deltas:
            yield event("content_block_delta", carries=True, index=index, delta=delta)
        yield event("content_block_stop", index=index)

    usage = {"input_tokens": content.tokens_in, "output_tokens": 1}
    start = {**messages_body(content), "content": [], "stop_reason": None, "usage": usage}
    yield event("message_start", message=start)
    yield event("ping")
    blocks: list[tuple[Json, list[Json]]] = []
    opened: Json
    if content.reasoning:
        thinking: list[Json] = [{"type": "thinking_delta", "thinking": piece} for piece in content.reasoning]
        thinking.append({"type": "signature_delta", "signature": "c2ln"})
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, thinking))
    if content.text:
        blocks.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in content.text]))
    for number, call in enumerate(content.tools):
        opened = {"type": "tool_use", "id": f"toolu_{content.serial}_{number}", "name": call.name, "input": {}}
        blocks.append((opened, [{"type": "input_json_delta", "partial_json": call.text}]))
    for index, (opened, deltas) in enumerate(blocks):
        yield from block(index, opened, deltas)
    stop = {"stop_reason": "tool_use" if content.tools else "end_turn", "stop_sequence": None}
    yield event("message_delta", delta=stop, usage={"output_tokens": content.tokens_out})
    yield event("message_stop")


def messages_body(content: Content) -> Json:
    parts: list[Json] = [{"type": "text", "text": "".join(content.text)}] if content.text else []
    parts += [
        {"type": "tool_use", "id": f"toolu_{content.serial}_{n}", "name": call.name, "input": json.loads(call.text)}
        for n, call in enumerate(content.tools)
    ]
    return {
        "id": f"msg_{content.serial}",
        "type": "message",
        "role": "assistant",
        "model": content.model,
        "content": parts,
        "stop_reason": "tool_use" if content.tools else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": content.tokens_in, "output_tokens": content.tokens_out},
    }


def error_frame(dialect: Dialect, message: str) -> Frame:
    """The vendor's own way to fail in the middle of a stream."""
    if dialect == "messages":
        body: Json = {"type": "error", "error": {"type": "overloaded_error", "message": message}}
        return Frame(f"event: error\ndata: {json.dumps(body)}\n\n".encode())
    if dialect == "responses":
        body = {"type": "error", "sequence_number": 99, "code": "server_error", "message": message, "param": None}
        return Frame(f"event: error\ndata: {json.dumps(body)}\n\n".encode())
    return _data({"error": {"message": message, "type": "server_error", "param": None, "code": "server_error"}})


def plain(dialect: Dialect, content: Content) -> Json:
    """The answer to a call without ``stream``."""
    if dialect == "responses":
        return responses_body(content)
    if dialect == "messages":
        return messages_body(content)
    message: dict[str, object] = {"role": "assistant", "content": "".join(content.text)}
    if content.tools:
        message["tool_calls"] = [
            {
                "id": f"call_{content.serial}_{n}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.text},
            }
            for n, call in enumerate(content.tools)
        ]
    finish = "tool_calls" if content.tools else "stop"
    return {
        "id": f"chatcmpl-{content.serial}",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": content.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": chat_usage(content),
    }
