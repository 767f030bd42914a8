from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import openai_models as openai
from sidecar.errors import HubError, InvalidRequest, MissingKey, Overloaded, TooLarge, Unauthorized
from sidecar.openai_models import ChatRequest, Image, Message, Stamp, Usage, parse_chat_request
from tests.sidecar.builders import PNG

USER = {"role": "user", "content": "hi"}
STAMP = Stamp(id="chatcmpl-1", created=7, model="open-persona/izzy")


def parse(body: object) -> ChatRequest:
    return parse_chat_request(json.dumps(body).encode(), max_bytes=100_000)


def asked(*messages: object) -> ChatRequest:
    return parse({"model": "open-persona/build", "messages": messages})


def image(url: object) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url}}


@pytest.mark.requirement("sidecar:chat-request")
def test_a_request_is_read_and_the_rest_of_it_ignored() -> None:
    request = parse(
        {
            "model": "open-persona/izzy",
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": "hot",
            "tools": 5,
            "open_persona": {"persona": {"template": "izzy"}},
            "messages": [
                {"role": "system", "content": "S1"},
                {"role": "developer", "content": [{"type": "text", "text": "S2"}]},
                {"role": "user", "content": [{"type": "text", "text": "a"}, image(PNG), {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": None, "tool_calls": []},
                {"role": "tool", "content": "result", "tool_call_id": "t"},
                {"role": "assistant", "content": ""},
                USER,
            ],
        }
    )
    assert (request.model, request.stream, request.include_usage) == ("open-persona/izzy", True, True)
    assert request.system_texts == ("S1", "S2")
    assert [message.role for message in request.history] == ["user", "assistant", "tool", "assistant"]
    assert request.history[0] == Message("user", "a\nb", (Image("image/png", PNG),))
    assert request.new_message == Message("user", "hi")


def test_an_image_alone_is_a_message() -> None:
    assert asked({"role": "user", "content": [image(PNG)]}).new_message.images == (Image("image/png", PNG),)


def test_a_lone_surrogate_does_not_survive() -> None:
    body = b'{"model": "m", "messages": [{"role": "user", "content": "a\\ud800b"}]}'
    assert parse_chat_request(body, max_bytes=1000).new_message.text == "a\ufffdb"


@pytest.mark.requirement("sidecar:chat-request-errors")
@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[" * 50_000, b'{"model": "\xe9"}', b'"' + b"1" * 10, b"9" * 9000]
)
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_chat_request(body, max_bytes=100_000)
    assert caught.value.param == "body"


@pytest.mark.requirement("sidecar:chat-request-errors")
def test_a_body_over_its_limit_is_refused_unread() -> None:
    with pytest.raises(TooLarge) as caught:
        parse_chat_request(b" " * (20 * 2**20), max_bytes=10 * 2**20)
    assert caught.value.status == 413


@pytest.mark.requirement("sidecar:chat-request-errors")
@pytest.mark.parametrize(
    ("body", "path"),
    [
        ([], "body"),
        ({"messages": [USER]}, "model"),
        ({"model": 3, "messages": [USER]}, "model"),
        ({"model": " ", "messages": [USER]}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": None}, "messages"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": {"0": USER}}, "messages"),
        ({"model": "m", "messages": [USER], "stream": "yes"}, "stream"),
        ({"model": "m", "messages": [USER], "stream_options": []}, "stream_options"),
        ({"model": "m", "messages": [USER], "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ],
)
def test_a_wrong_field_is_named(body: object, path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(body)
    assert caught.value.param == path
    assert caught.value.message.startswith(f"{path}: ")


@pytest.mark.requirement("sidecar:chat-request-errors")
@pytest.mark.parametrize(
    ("message", "path"),
    [
        ("hi", "messages[1]"),
        ({"content": "hi"}, "messages[1].role"),
        ({"role": "root", "content": "hi"}, "messages[1].role"),
        ({"role": ["user"], "content": "hi"}, "messages[1].role"),
        ({"role": "user"}, "messages[1].content"),
        ({"role": "system", "content": None}, "messages[1].content"),
        ({"role": "user", "content": 5}, "messages[1].content"),
        ({"role": "user", "content": {"type": "text"}}, "messages[1].content"),
        ({"role": "user", "content": ["hi"]}, "messages[1].content[0]"),
        ({"role": "user", "content": [{"text": "hi"}]}, "messages[1].content[0].type"),
        ({"role": "user", "content": [{"type": "video"}]}, "messages[1].content[0].type"),
        ({"role": "user", "content": [{"type": {}}]}, "messages[1].content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[1].content[0].text"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": PNG}]}, "messages[1].content[0].image_url"),
        ({"role": "user", "content": [image(None)]}, "messages[1].content[0].image_url.url"),
        ({"role": "user", "content": [image("data:text/html;base64,aGk=")]}, "messages[1].content[0].image_url.url"),
        ({"role": "user", "content": [image("data:image/png,raw")]}, "messages[1].content[0].image_url.url"),
        ({"role": "user", "content": [image("data:image/png;base64,")]}, "messages[1].content[0].image_url.url"),
        ({"role": "user", "content": [image("data:image/png;base64,!!")]}, "messages[1].content[0].image_url.url"),
        ({"role": "user", "content": [image("file:///etc/passwd")]}, "messages[1].content[0].image_url.url"),
        ({"role": "system", "content": [image(PNG)]}, "messages[1].content[0]"),
    ],
)
def test_a_wrong_message_is_named(message: object, path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked(USER, message, USER)
    assert caught.value.param == path


@pytest.mark.requirement("sidecar:parts-refused")
@pytest.mark.parametrize(
    ("part", "words"),
    [
        (image("https://example.org/a.png"), "no internet access"),
        (image("HTTP://example.org/a.png"), "no internet access"),
        ({"type": "file", "file": {"file_data": "x"}}, "Paste the file's text"),
        ({"type": "input_audio", "input_audio": {"data": "x"}}, "Audio cannot be heard"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(part: object, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        asked({"role": "user", "content": [part]})


@pytest.mark.requirement("sidecar:chat-request-errors")
@pytest.mark.parametrize(
    ("last", "path"),
    [
        ({"role": "assistant", "content": "hi"}, "messages[1].role"),
        ({"role": "system", "content": "hi"}, "messages[1].role"),
        ({"role": "user", "content": " \n"}, "messages[1].content"),
        ({"role": "user", "content": []}, "messages[1].content"),
    ],
)
def test_the_last_message_is_the_users_and_says_something(last: object, path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked(USER, last)
    assert caught.value.param == path


@pytest.mark.requirement("sidecar:chat-request-errors")
def test_an_answer_that_is_to_be_continued_is_refused_in_a_sentence() -> None:
    with pytest.raises(InvalidRequest, match=r"^Continuing an answer is not possible here\. Write a message"):
        asked(USER, {"role": "assistant", "content": "half"})


@pytest.mark.requirement("sidecar:chat-size")
def test_a_chat_over_its_limits_is_refused_with_its_field_and_one_at_them_is_read() -> None:
    def read(*messages: object) -> int:
        body = json.dumps({"model": "m", "messages": messages}, ensure_ascii=False).encode()
        return len(parse_chat_request(body, max_bytes=10 * 2**20).messages)

    most, half = openai.MAX_MESSAGES, {"role": "user", "content": "\u00e9" * (openai.MAX_TEXT_BYTES // 4)}
    assert (read(*[USER] * most), read(half, half)) == (most, 2)
    for messages in ([USER] * (most + 1), [half, half, USER]):
        with pytest.raises(TooLarge, match="Start a new chat") as caught:
            read(*messages)
        assert (caught.value.param, caught.value.status) == ("messages", 413)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.sampled_from(["user", "text", "system", PNG]) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "text", "url", "image_url"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(messages=ANY_JSON | st.lists(ANY_JSON, min_size=1, max_size=3), stream=ANY_JSON)
def test_any_json_is_a_request_or_an_error_that_names_a_field(messages: object, stream: object) -> None:
    try:
        request = parse({"model": "m", "messages": messages, "stream": stream})
    except InvalidRequest as error:
        assert error.param
    else:
        assert request.new_message.role == "user"


def test_a_stream_begins_with_the_role_and_ends_once() -> None:
    first = openai.chunk(STAMP, first=True)
    assert first == {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "open-persona/izzy",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
    }
    assert openai.chunk(STAMP, content="a")["choices"] == [
        {"index": 0, "delta": {"content": "a"}, "finish_reason": None}
    ]
    thinking = openai.chunk(STAMP, reasoning="r")["choices"]
    assert thinking == [{"index": 0, "delta": {"reasoning_content": "r"}, "finish_reason": None}]
    assert openai.terminal_chunk(STAMP)["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]


def test_usage_comes_without_choices() -> None:
    last = openai.usage_chunk(STAMP, Usage(prompt=10, completion=5, reasoning=2, cached=4))
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }


def test_a_whole_answer() -> None:
    answer = openai.completion(STAMP, content="hello", reasoning="hm", finish_reason="length")
    message = {"role": "assistant", "content": "hello", "reasoning_content": "hm"}
    assert answer["object"] == "chat.completion"
    assert answer["choices"] == [{"index": 0, "message": message, "finish_reason": "length", "logprobs": None}]


def test_a_status_event() -> None:
    assert openai.status_event("Searching", done=False) == {
        "event": {"type": "status", "data": {"description": "Searching", "done": False}}
    }


@pytest.mark.requirement("sidecar:openai-errors")
@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (Unauthorized("no"), "authentication_error", "unauthorized"),
        (InvalidRequest("no", param="model"), "invalid_request_error", "invalid_request"),
        (MissingKey("no"), "invalid_request_error", "missing_key"),
        (Overloaded("no"), "rate_limit_error", "overloaded"),
        (HubError("no", detail="secret detail"), "server_error", "hub_unavailable"),
    ],
)
def test_errors_have_openais_shape(error: InvalidRequest, kind: str, code: str) -> None:
    body = openai.error_body(error)
    assert body == {"error": {"message": "no", "type": kind, "param": error.param, "code": code}}
    assert openai.error_event(error) == body


def test_the_list_of_models() -> None:
    assert openai.models_list(["open-persona/build"], created=7) == {
        "object": "list",
        "data": [{"id": "open-persona/build", "object": "model", "created": 7, "owned_by": "open-persona"}],
    }
