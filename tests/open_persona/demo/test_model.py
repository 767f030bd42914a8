"""The demo model over real HTTP: OpenAI's wire format, tools by words, memory of the request alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from open_persona.demo.model import create_app
from sidecar.openai_models import Message
from sidecar.prompts import user_text
from tests.fakes.asgi_server import serve_app

Json = dict[str, object]
SEARCH: Json = {
    "type": "function",
    "function": {
        "name": "grants_gov_search_opportunities",
        "parameters": {
            "type": "object",
            "properties": {"keyword": {"type": "string"}, "limit": {"type": "integer", "maximum": 3}},
        },
    },
}
PROJECTS: Json = {
    "type": "function",
    "function": {"name": "instrumentl_list_projects", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture
async def model() -> AsyncIterator[httpx.AsyncClient]:
    async with serve_app(create_app()) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client


def user(text: str) -> Json:
    return {"role": "user", "content": text}


async def ask(model: httpx.AsyncClient, *messages: Json, tools: tuple[Json, ...] = ()) -> tuple[str, Json | None]:
    """The answer's text, and its tool call as ``{name, arguments}``, put together from the streamed chunks."""
    body = {
        "model": "demo",
        "messages": messages,
        "tools": tools,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    text, name, arguments = "", "", ""
    async with model.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line async for line in response.aiter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert chunks[-1]["usage"]["total_tokens"] > 0
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]].count(None) == len(chunks) - 2
    for chunk in chunks[:-1]:
        delta = chunk["choices"][0]["delta"]
        text += delta.get("content") or ""
        for call in delta.get("tool_calls", []):
            name += call["function"].get("name", "")
            arguments += call["function"]["arguments"]
    return text, ({"name": name, "arguments": json.loads(arguments)} if name else None)


@pytest.mark.requirement("demo:model")
async def test_words_pick_a_tool_and_its_arguments_follow_the_schema(model: httpx.AsyncClient) -> None:
    _, call = await ask(model, user("Find open federal grants for rural health clinics."), tools=(PROJECTS, SEARCH))
    assert call == {
        "name": "grants_gov_search_opportunities",
        "arguments": {"keyword": "rural health clinics", "limit": 3},
    }


async def test_another_word_picks_another_tool(model: httpx.AsyncClient) -> None:
    _, call = await ask(model, user("Which projects do I have?"), tools=(SEARCH, PROJECTS))
    assert call == {"name": "instrumentl_list_projects", "arguments": {}}


@pytest.mark.requirement("demo:model")
async def test_a_tools_result_is_reported_and_called_a_demo(model: httpx.AsyncClient) -> None:
    result = json.dumps(
        {"notices": ["SAMPLE records."], "opportunities": [{"title": "Rural Health", "number": "HRSA-1"}]}
    )
    call = {"id": "c1", "type": "function", "function": {"name": "grants_gov_search_opportunities", "arguments": "{}"}}
    history: tuple[Json, ...] = (
        user("Find grants"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": result},
    )
    text, again = await ask(model, *history, tools=(SEARCH,))
    assert again is None
    assert "1. Rural Health (number HRSA-1)" in text
    assert "SAMPLE records." in text
    assert "demo model" in text


@pytest.mark.requirement("demo:model")
async def test_without_tools_it_says_so(model: httpx.AsyncClient) -> None:
    text, call = await ask(model, user("Find open federal grants for rural health clinics."))
    assert call is None
    assert text.startswith("I was offered no tools")
    assert "demo model" in text


async def test_with_no_fitting_tool_it_names_the_offer(model: httpx.AsyncClient) -> None:
    text, _ = await ask(model, user("Sing a song"), tools=(SEARCH,))
    assert "grants_gov_search_opportunities" in text


async def test_what_was_told_earlier_comes_back(model: httpx.AsyncClient) -> None:
    told = user("Please remember that our county is Marin.")
    noted, _ = await ask(model, told)
    assert noted.startswith("Noted: our county is Marin")
    text, _ = await ask(model, told, {"role": "assistant", "content": noted}, user("What is our county?"))
    assert text.startswith("You told me: our county is Marin")


async def test_what_was_not_told_is_not_made_up(model: httpx.AsyncClient) -> None:
    text, _ = await ask(model, user("What is my budget?"))
    assert text.startswith("You have told me nothing")


async def test_a_quoted_history_counts_as_told_and_not_as_the_question(model: httpx.AsyncClient) -> None:
    history = (
        Message("user", "Find grants. Remember that my budget is 9 dollars."),
        Message("assistant", "My cat is red."),
    )
    prompt = user_text(history, Message("user", "What is my budget?"), 10_000)
    text, call = await ask(model, user(prompt.text), tools=(SEARCH,))
    assert call is None
    assert "my budget is 9 dollars" in text
    assert "cat" not in text


@pytest.mark.parametrize("key", ["title", "tags", "follow_ups"])
async def test_background_tasks_get_short_json(model: httpx.AsyncClient, key: str) -> None:
    prompt = f'### Task:\nGenerate. JSON format: {{ "{key}": ... }}\n<chat_history>\nUSER: grants\n</chat_history>'
    text, _ = await ask(model, user(prompt), tools=(SEARCH,))
    assert list(json.loads(text)) == [key]


async def test_the_same_request_gets_the_same_bytes(model: httpx.AsyncClient) -> None:
    body = {"model": "demo", "messages": [user("hello")]}
    first, second = [(await model.post("/v1/chat/completions", json=body)).content for _ in range(2)]
    assert first == second
    assert json.loads(first)["choices"][0]["finish_reason"] == "stop"


@pytest.mark.requirement("demo:offered_tools")
async def test_it_tells_which_tools_it_was_offered_and_not_what_was_said(model: httpx.AsyncClient) -> None:
    await ask(model, user("Find grants for a very private matter"), tools=(SEARCH,))
    await ask(model, user("hello"))
    seen = await model.get("/demo/requests")
    assert "private" not in seen.text
    listed = [(entry["tools"], entry["called"]) for entry in seen.json()["requests"]]
    assert listed == [(["grants_gov_search_opportunities"], "grants_gov_search_opportunities"), ([], None)]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"model": "demo"}', b'{"model": "demo", "messages": []}'])
async def test_a_wrong_body_is_a_400_in_openais_shape(model: httpx.AsyncClient, body: bytes) -> None:
    answer = await model.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_it_lists_one_model(model: httpx.AsyncClient) -> None:
    assert [entry["id"] for entry in (await model.get("/v1/models")).json()["data"]] == ["demo"]
