"""What a model call may hold."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.broker_policy import Body, Denied, checked, parse_body, passed_headers
from sidecar.providers import Dialect

FUNCTION: Body = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {}, "strict": False}}
PNG = "data:image/png;base64,iVBORw0KGgo="

PASSES: list[tuple[Dialect, Body]] = [
    (
        "chat",
        {
            "max_tokens": 8192,
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]},
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]},
                {"role": "user", "content": [{"type": "file", "file": {"filename": "a.pdf", "file_data": PNG}}]},
                {
                    "role": "assistant",
                    "content": "",
                    "reasoning_content": "hm",
                    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "c", "name": "f", "content": "result"},
            ],
            "tools": [FUNCTION],
            "tool_choice": "auto",
            "stream_options": {"include_usage": True},
            "usage": {"include": True},
        },
    ),
    (
        "responses",
        {
            "input": [
                {"role": "developer", "content": "s"},
                {"role": "user", "content": [{"type": "input_text", "text": "t"}]},
                {"role": "user", "content": [{"type": "input_image", "image_url": PNG}]},
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "result"},
            ],
            "text": {"verbosity": "low"},
            "include": ["reasoning.encrypted_content"],
            "prompt_cache_key": "ses_1",
            "reasoning": {"effort": "medium", "summary": "auto"},
            "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {}, "strict": False}],
            "tool_choice": {"type": "function", "name": "f"},
        },
    ),
    (
        "messages",
        {
            "max_tokens": 32000,
            "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "hi"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aa"}},
                        {"type": "document", "source": {"type": "base64", "data": "aa"}, "title": "a.pdf"},
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "t", "signature": "s"},
                        {"type": "tool_use", "id": "t", "name": "f", "input": {"file_id": "fine in arguments"}},
                    ],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "result"}]},
            ],
            "tools": [{"name": "f", "description": "d", "input_schema": {}, "eager_input_streaming": True}],
            "tool_choice": {"type": "auto"},
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        },
    ),
]


@pytest.mark.parametrize(("dialect", "body"), PASSES)
def test_what_opencode_sends_passes_unchanged(dialect: Dialect, body: Body) -> None:
    sent: Body = {"model": "m", "stream": True, **body}
    expected = sent | ({"store": False} if dialect == "responses" else {})
    assert checked(dialect, sent) == expected


def user_part(part: Body) -> Body:
    return {"messages": [{"role": "user", "content": [part]}]}


def input_item(item: Body) -> Body:
    return {"input": [item]}


def input_part(part: Body) -> Body:
    return input_item({"role": "user", "content": [part]})


CHAT_REFUSED: list[Body] = [
    {"web_search_options": {}},
    {"plugins": [{"id": "web"}]},
    {"models": ["other/model"]},
    {"route": "fallback"},
    {"provider": {"order": ["x"]}},
    {"preset": "p"},
    {"transforms": ["middle-out"]},
    {"metadata": {"a": "b"}},
    {"modalities": ["audio"]},
    {"functions": []},
    {"service_tier": "priority"},
    {"n": 8},
    {"tools": [{"type": "web_search"}]},
    {"tools": [{"type": "openrouter:web_search"}]},
    {"tools": [{"type": "mcp", "server_url": "https://x.test"}]},
    {"tools": [{"type": "custom", "custom": {"name": "c"}}]},
    {"tools": [{**FUNCTION, "server_url": "https://x.test"}]},
    {"tools": {"type": "function"}},
    {"tool_choice": {"type": "web_search"}},
    {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]},
    {"messages": [{"role": "assistant", "tool_calls": [{"type": "custom"}]}]},
    user_part({"type": "image_url", "image_url": {"url": "https://x.test/?q=secret"}}),
    user_part({"type": "image_url", "image_url": "http://169.254.169.254/"}),
    user_part({"type": "file", "file": {"file_id": "file_1"}}),
    user_part({"type": "file", "file": {"file_data": "https://x.test/a.pdf"}}),
    user_part({"type": "video_url", "video_url": {"url": "https://x.test"}}),
    {"stream": "yes"},
]

RESPONSES_REFUSED: list[Body] = [
    {"previous_response_id": "resp_1"},
    {"conversation": "conv_1"},
    {"background": True},
    {"prompt": {"id": "pmpt_1"}},
    {"context_management": []},
    {"max_tool_calls": 3},
    {"include": ["file_search_call.results"]},
    {"tools": [{"type": "web_search"}]},
    {"tools": [{"type": "web_search_preview"}]},
    {"tools": [{"type": "file_search"}]},
    {"tools": [{"type": "code_interpreter"}]},
    {"tools": [{"type": "computer_use_preview"}]},
    {"tools": [{"type": "image_generation"}]},
    {"tools": [{"type": "local_shell"}]},
    {"tools": [{"type": "shell"}]},
    {"tools": [{"type": "apply_patch"}]},
    {"tools": [{"type": "mcp"}]},
    {"tools": [{"type": "custom"}]},
    {"tools": [{"type": "namespace"}]},
    {"tool_choice": {"type": "mcp", "server_label": "x"}},
    input_item({"type": "item_reference", "id": "msg_1"}),
    input_item({"id": "msg_1"}),
    input_item({"id": "msg_1", "role": "user"}),
    input_item({"type": "message", "id": "msg_1", "content": []}),
    {"instructions": [{"type": "item_reference", "id": "msg_1"}]},
    input_item({"type": "mcp_approval_response", "approve": True}),
    input_item({"type": "web_search_call"}),
    input_part({"type": "input_image", "file_id": "file_1"}),
    input_part({"type": "input_image", "image_url": "https://x.test/?q=secret"}),
    input_part({"type": "input_file", "file_id": "file_1"}),
    input_part({"type": "input_file", "file_url": "https://x.test"}),
    input_item({"type": "function_call_output", "output": [{"type": "input_file", "file_id": "f"}]}),
]

MESSAGES_REFUSED: list[Body] = [
    {"mcp_servers": [{"type": "url", "url": "https://x.test"}]},
    {"container": "c_1"},
    {"context_management": {}},
    {"inference_geo": "us"},
    {"tools": [{"type": "web_search_20250305", "name": "t"}]},
    {"tools": [{"type": "web_fetch_20250910", "name": "t"}]},
    {"tools": [{"type": "code_execution_20250522", "name": "t"}]},
    {"tools": [{"type": "mcp_toolset", "name": "t"}]},
    {"tools": [{"name": "t", "input_schema": {}, "allowed_callers": ["code_execution_20250825"]}]},
    user_part({"type": "image", "source": {"type": "url", "url": "https://x.test"}}),
    user_part({"type": "document", "source": {"type": "file", "file_id": "file_1"}}),
    user_part({"type": "container_upload", "file_id": "file_1"}),
    user_part({"type": "mcp_tool_use"}),
    user_part({"type": "tool_result", "content": [{"type": "image", "source": {"type": "url"}}]}),
]
REFUSED: dict[Dialect, list[Body]] = {
    "chat": CHAT_REFUSED,
    "responses": RESPONSES_REFUSED,
    "messages": MESSAGES_REFUSED,
}


@pytest.mark.requirement("broker:functions-only")
@pytest.mark.parametrize(("dialect", "extra"), [(name, extra) for name, rows in REFUSED.items() for extra in rows])
def test_what_acts_or_remembers_at_the_provider_is_refused(dialect: Dialect, extra: Body) -> None:
    base: Body = {"model": "m", "stream": True}
    checked(dialect, base)
    with pytest.raises(Denied):
        checked(dialect, base | extra)


@pytest.mark.parametrize("raw", [b"", b"[]", b'"x"', b"{", b'{"a": NaN}', b'{"a": -1e999}', b"[" * 100_000, b"\xff"])
def test_what_is_not_a_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(Denied):
        parse_body(raw)


def test_what_is_checked_is_what_is_sent() -> None:
    raw = b'{"model": "m", "tools": [{"type": "web_search"}], "tools": []}'
    assert checked("chat", parse_body(raw)) == {"model": "m", "tools": []}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    dialect=st.sampled_from(["chat", "responses", "messages"]),
    tools=json_values,
    content=json_values,
)
def test_nothing_odd_breaks_the_check(dialect: Dialect, tools: object, content: object) -> None:
    body: Body = {"model": "m", "tools": tools, "input" if dialect == "responses" else "messages": content}
    try:
        passed = checked(dialect, body)
    except Denied as denial:
        assert len(denial.why) < 60
    else:
        json.dumps(passed)
        assert not passed.get("tools"), "nothing random is a function"


def test_only_known_headers_and_betas_pass() -> None:
    sent = {"anthropic-beta": "files-api-2025-04-14, interleaved-thinking-2025-05-14", "anthropic-version": "x\ny"}
    kept = {"anthropic-version": "2023-06-01", "anthropic-beta": "interleaved-thinking-2025-05-14"}
    assert passed_headers("messages", sent) == kept
    assert passed_headers("chat", sent) == {}
