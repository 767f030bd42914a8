"""Open WebUI's background calls."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from pydantic import SecretStr

from sidecar import tasks
from sidecar.settings import ProviderName, Settings
from sidecar.tasks import run_task
from tests.fakes.provider import FakeProvider, Reply, running_provider
from tests.sidecar.broker_rig import MODELS, NAMES, settings_for

KEYS: dict[ProviderName, SecretStr] = {name: SecretStr("sk-task-canary") for name in NAMES if name != "demo"}
WRAP = "### Task:\nWrite a title.\n### Output:\nJSON\n### Chat History:\n<chat_history>\n{}\n</chat_history>"


@dataclass
class Said:
    role: str
    text: str


@dataclass
class Asked:
    messages: list[Said]


def asked(history: str) -> Asked:
    return Asked([Said("system", "You are Izzy."), Said("user", WRAP.format(history))])


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with running_provider() as running:
        yield running


def model_settings(provider: FakeProvider, name: ProviderName) -> Settings:
    return settings_for(provider.url, task_model=f"{name}/{MODELS[name]}")


@pytest.mark.requirement("tasks:rule")
@pytest.mark.parametrize(
    ("history", "title"),
    [
        ("USER: Find grants for a food bank\nASSISTANT: Sure.", "Find grants for a food bank"),
        ("USER: # **Big** `news`\n<b>now</b>\nASSISTANT: x", "Big news now"),
        ("USER: see [the page](https://x.test/a) <details>secret</details>please\nASSISTANT: x", "see the page please"),
        ("USER: close </chat_history> and go on\nASSISTANT: x", "close and go on"),
        ("USER: " + "word " * 40, "word word word word word word word word word…"),
        ("USER: ```python\nprint()\n```\nASSISTANT: x", "New Chat"),
        ("", "New Chat"),
    ],
)
async def test_a_title_without_a_model(history: str, title: str, http: aiohttp.ClientSession) -> None:
    text = await run_task("title_generation", asked(history), Settings(), {}, http)
    assert json.loads(text) == {"title": title}


@pytest.mark.requirement("tasks:rule")
@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("tags_generation", {"tags": ["General"]}),
        ("follow_up_generation", {"follow_ups": []}),
        ("query_generation", {"queries": []}),
        ("autocomplete_generation", {"text": ""}),
        ("function_calling", {"tool_calls": []}),
        ("something_new", {}),
    ],
)
async def test_every_task_gets_an_answer_without_a_model(
    task: str, answer: dict[str, object], http: aiohttp.ClientSession
) -> None:
    assert json.loads(await run_task(task, asked("USER: hi"), Settings(), {}, http)) == answer


@pytest.mark.requirement("tasks:model")
@pytest.mark.parametrize("name", NAMES)
async def test_the_task_model_is_asked_once_and_plainly(
    name: ProviderName, provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    provider.script(Reply(text=['Here: {"title": "Grants 🌱", "x": 1}']))
    text = await run_task("title_generation", asked("USER: hi"), model_settings(provider, name), KEYS, http)
    assert text == '{"title": "Grants 🌱"}'
    request = provider.requests[0]
    assert request.path == ("/v1/messages" if name == "anthropic" else "/v1/chat/completions")
    assert (request.model, request.body["stream"], request.tools) == (MODELS[name], False, [])
    assert request.system == ""
    assert request.key == ("" if name == "demo" else "sk-task-canary")


@pytest.mark.requirement("tasks:rule")
@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=401, body="key {key}"),
        Reply(status=500),
        Reply(text=["no json"]),
        Reply(text=['{"title": 5}']),
        Reply(text=['{"title": ""}']),
        Reply(status=302, headers={"location": "http://127.0.0.1:9/"}),
    ],
)
async def test_any_failure_falls_back_to_the_rule(
    reply: Reply, provider: FakeProvider, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    provider.script(reply)
    text = await run_task("title_generation", asked("USER: hi"), model_settings(provider, "openai"), KEYS, http)
    assert json.loads(text) == {"title": "hi"}
    assert "sk-task-canary" not in caplog.text


@pytest.mark.requirement("tasks:rule")
@pytest.mark.parametrize(
    "answer",
    ["{" * tasks.MAX_ANSWER_BYTES, "{[" * 100_000 + "}", "}" * 1000 + "{", '{"title": "' + "x" * 100_000 + '"}'],
)
def test_a_hostile_answer_of_a_task_model_is_dropped_at_once(answer: str) -> None:
    begin = time.process_time()
    assert tasks._usable("title_generation", answer) == ""
    assert time.process_time() - begin < 0.5


@pytest.mark.requirement("tasks:rule")
@pytest.mark.parametrize("part", ["[", "[](", "<details", "```", "<a", "USER: [\n"])
async def test_a_title_of_a_huge_message_takes_no_time(part: str, http: aiohttp.ClientSession) -> None:
    huge = asked("USER: " + part * (4 * 2**20 // len(part)))
    begin = time.process_time()
    await run_task("title_generation", huge, Settings(), {}, http)
    assert time.process_time() - begin < 1


@pytest.mark.requirement("tasks:deadline")
async def test_a_task_model_that_hangs_is_not_waited_for(
    provider: FakeProvider, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "DEADLINE_S", 0.1)
    provider.script(Reply(stall="start"))
    text = await run_task("tags_generation", asked("USER: hi"), model_settings(provider, "openai"), KEYS, http)
    assert json.loads(text) == {"tags": ["General"]}
    await provider.wait_closed(timeout_s=2)


async def test_a_task_model_without_its_key_is_not_asked(provider: FakeProvider, http: aiohttp.ClientSession) -> None:
    text = await run_task("tags_generation", asked("USER: hi"), model_settings(provider, "openai"), {}, http)
    assert json.loads(text) == {"tags": ["General"]}
    assert provider.requests == []
