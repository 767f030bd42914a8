"""OpenAI's chat-completions wire format: one completion as a body or as server-sent events. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from pydantic import JsonValue

from open_persona.demo.script import Call, Speech

CREATED = 1_700_000_000
"""A fixed time (seconds since 1970), so that equal requests get equal bytes."""

Json = dict[str, JsonValue]


def usage(prompt: str, answer: Speech | Call) -> Json:
    """Token counts, by the rule of thumb of four characters each."""
    said = answer.text if isinstance(answer, Speech) else json.dumps(answer.arguments)
    spent, made = max(1, len(prompt) // 4), max(1, len(said) // 4)
    return {"prompt_tokens": spent, "completion_tokens": made, "total_tokens": spent + made}


def completion(identity: str, model: str, answer: Speech | Call, spent: Json) -> Json:
    """The body of an answer that is not streamed."""
    message: Json = {"role": "assistant", "content": answer.text if isinstance(answer, Speech) else None}
    if isinstance(answer, Call):
        message["tool_calls"] = [_tool_call(identity, answer)]
    choice: Json = {"index": 0, "message": message, "finish_reason": finish_reason(answer)}
    head: Json = {"id": identity, "object": "chat.completion", "created": CREATED, "model": model}
    return {**head, "choices": [choice], "usage": spent}


def events(identity: str, model: str, answer: Speech | Call, spent: Json | None) -> Iterator[str]:
    """Server-sent events: deltas, one finish chunk, a usage chunk when ``spent`` is given, ``[DONE]``."""
    head: Json = {"id": identity, "object": "chat.completion.chunk", "created": CREATED, "model": model}
    for delta in _deltas(identity, answer):
        yield _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield _event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason(answer)}]})
    if spent is not None:
        yield _event({**head, "choices": [], "usage": spent})
    yield "data: [DONE]\n\n"


def finish_reason(answer: Speech | Call) -> str:
    """OpenAI's word for why the answer ended."""
    return "tool_calls" if isinstance(answer, Call) else "stop"


def _deltas(identity: str, answer: Speech | Call) -> Iterator[Json]:
    yield {"role": "assistant", "content": ""}
    if isinstance(answer, Speech):
        for piece in re.findall(r"\s*\S+\s*?(?=\s|$)|\s+", answer.text):
            yield {"content": piece}
        return
    call = _tool_call(identity, answer)
    arguments = json.dumps(answer.arguments)
    half = len(arguments) // 2
    yield {"tool_calls": [{"index": 0, **call, "function": {"name": answer.tool, "arguments": ""}}]}
    for piece in (arguments[:half], arguments[half:]):
        yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def _tool_call(identity: str, answer: Call) -> Json:
    function: Json = {"name": answer.tool, "arguments": json.dumps(answer.arguments)}
    return {"id": identity.replace("chatcmpl", "call"), "type": "function", "function": function}


def _event(chunk: Json) -> str:
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
