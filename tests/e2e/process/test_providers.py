"""opencode's own provider packages, unchanged, through the broker: each against its vendor's wire format."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import pytest_asyncio

from tests.e2e.process.deployment import Answer, Deployment, running_deployment
from tests.fakes.provider import ProviderRequest, Reply, ToolCall, running_provider

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


@dataclass(frozen=True)
class Vendor:
    """What arrives at one vendor: the path below its base URL, the header of the key, and the user's field for it."""

    name: Literal["openai", "anthropic", "openrouter", "compatible"]
    model: str
    call: str
    key_header: Literal["authorization", "x-api-key"]
    field: str

    @property
    def full_model(self) -> str:
        return f"{self.name}/{self.model}"

    @property
    def key(self) -> str:
        return f"sk-key-of-ann-at-{self.name}-0123456789"

    @property
    def credential(self) -> str:
        return self.key if self.key_header == "x-api-key" else f"Bearer {self.key}"


VENDORS = (
    Vendor("openai", "gpt-5.1", "responses", "authorization", "OpenAI API key"),
    Vendor("anthropic", "claude-sonnet-4-5", "messages", "x-api-key", "Anthropic API key"),
    Vendor("openrouter", "anthropic/claude-sonnet-4.5", "chat/completions", "authorization", "OpenRouter API key"),
    Vendor("compatible", "m1", "chat/completions", "authorization", "API key of this organisation's own endpoint"),
)
KEYS: dict[str, Any] = {f"x-openpersona-{vendor.name}-api-key": vendor.key for vendor in VENDORS}
each_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with running_provider() as vendors:
        addresses: dict[str, Any] = {f"{vendor.name}_base_url": f"{vendors.url}/{vendor.name}" for vendor in VENDORS}
        async with running_deployment(
            tmp_path_factory.mktemp("providers"),
            integrations={"alpha": {"search": "read"}},
            providers=tuple(vendor.name for vendor in VENDORS),
            openrouter_models=("anthropic/claude-sonnet-4.5",),
            **addresses,
        ) as running:
            running.provider = vendors
            yield running


async def ask(deployment: Deployment, vendor: Vendor, script: Reply | Sequence[Reply | str], **more: object) -> Answer:
    deployment.provider.script(script)
    meta = {"model": vendor.full_model, "integrations": {"alpha": {"enabled": True}}}
    return await deployment.chat("go", model="open-persona/grant-draft", meta=meta, **KEYS, **more)


async def one_turn(
    deployment: Deployment, vendor: Vendor, script: Reply | Sequence[Reply | str]
) -> tuple[Answer, list[ProviderRequest]]:
    """The answer of one turn that went well, and the calls that it made."""
    before = len(deployment.provider.requests)
    answer = await ask(deployment, vendor, script)
    assert (answer.status, answer.error, answer.terminals, answer.done) == (200, {}, ["stop"], 1)
    return answer, deployment.provider.requests[before:]


@pytest.mark.requirement("providers:stream")
@each_vendor
async def test_text_and_reasoning_arrive_as_such(deployment: Deployment, vendor: Vendor) -> None:
    answer, calls = await one_turn(deployment, vendor, Reply(text=["It ", "works."], reasoning=["Let me ", "think."]))
    assert (answer.text, answer.reasoning) == ("It works.", "Let me think.")
    assert [call.path for call in calls] == [f"/v1/{vendor.name}/{vendor.call}"]
    assert calls[0].model == vendor.model
    assert calls[0].body["stream"] is True
    assert calls[0].tool_names == ["alpha_search"]


@pytest.mark.requirement("providers:first-token-early")
@each_vendor
async def test_the_first_words_arrive_before_the_answer_is_complete(deployment: Deployment, vendor: Vendor) -> None:
    gate = asyncio.Event()
    turn = asyncio.create_task(_until_words(deployment, vendor, gate))
    assert await asyncio.wait_for(turn, 30) == "first last"


async def _until_words(deployment: Deployment, vendor: Vendor, gate: asyncio.Event) -> str:
    deployment.provider.script(Reply(text=["first ", "last"], gate=gate))
    request = deployment.turn("go", meta={"model": vendor.full_model}, **KEYS)
    answer = Answer(200)
    async with deployment.client.stream("POST", **request) as response:  # type: ignore[arg-type]
        async for line in response.aiter_lines():
            answer.add(line)
            if answer.text == "first ":
                assert not deployment.provider.requests[-1].finished
                gate.set()
    return answer.text


@pytest.mark.requirement("providers:tools")
@each_vendor
async def test_a_tool_is_called_and_its_result_goes_back(deployment: Deployment, vendor: Vendor) -> None:
    call = ToolCall("alpha_search", {"words": "food"})
    thinking = Reply(reasoning=["I need ", "the tool."], tools=[call], tokens=(100, 20))
    answer, calls = await one_turn(deployment, vendor, [thinking, Reply(text=["Found it."], tokens=(150, 30))])
    assert (answer.text, answer.reasoning) == ("Found it.", "I need the tool.")
    assert len(calls) == 2
    assert calls[1].tool_results == ["alpha.search found: food"]
    assert any("done" in line for line in answer.statuses)


SEALED = {"openai": "sealed-", "anthropic": '"signature":"c2ln"', "openrouter": "reasoning_details", "compatible": ""}
"""What only the vendor can read of its model's reasoning, and wants back with the tool's result."""


@pytest.mark.requirement("providers:tools")
@each_vendor
async def test_the_models_reasoning_goes_back_with_the_tools_result(deployment: Deployment, vendor: Vendor) -> None:
    thinking = Reply(reasoning=["I need the tool."], tools=[ToolCall("alpha_search", {"words": "food"})])
    _, calls = await one_turn(deployment, vendor, [thinking, Reply(text=["Found it."])])
    again = calls[1].raw.decode().replace(": ", ":")
    assert "I need the tool." in again
    assert SEALED[vendor.name] in again


@pytest.mark.requirement("providers:usage")
@each_vendor
async def test_the_tokens_of_all_calls_of_a_turn_are_told(deployment: Deployment, vendor: Vendor) -> None:
    call = ToolCall("alpha_search", {"words": "food"})
    script = [Reply(tools=[call], tokens=(100, 20)), Reply(text=["Found it."], tokens=(150, 30))]
    answer, _ = await one_turn(deployment, vendor, script)
    assert (answer.usage["prompt_tokens"], answer.usage["completion_tokens"]) == (250, 50)


@pytest.mark.requirement("providers:right-key")
@each_vendor
async def test_only_the_vendors_own_key_reaches_it(deployment: Deployment, vendor: Vendor) -> None:
    _, calls = await one_turn(deployment, vendor, Reply(text=["ok"]))
    (call,) = calls
    assert call.headers[vendor.key_header] == vendor.credential
    other = "authorization" if vendor.key_header == "x-api-key" else "x-api-key"
    assert other not in call.headers
    sent = str(call.headers) + call.raw.decode()
    assert [held for held in KEYS.values() if held in sent] == [vendor.key]
    live = deployment.services.turns.pool.live[0]
    assert live.spec.token.get_secret_value() not in sent


@pytest.mark.requirement("providers:nothing-stored")
async def test_openai_is_told_to_store_nothing(deployment: Deployment) -> None:
    _, calls = await one_turn(deployment, VENDORS[0], Reply(text=["ok"]))
    assert calls[0].body["store"] is False
    assert "previous_response_id" not in calls[0].body


@pytest.mark.requirement("providers:refused-key")
@each_vendor
async def test_a_refused_key_is_told_with_the_field_to_change(deployment: Deployment, vendor: Vendor) -> None:
    before = len(deployment.provider.requests)
    answer = await ask(deployment, vendor, Reply(status=401, body={"error": {"message": "bad key {key}"}}))
    assert answer.error["code"] == "provider_auth"
    message = str(answer.error["message"])
    assert vendor.field in message
    assert vendor.key not in str(answer.events)
    assert len(deployment.provider.requests) == before + 1
    assert (len(answer.terminals), answer.done) == (1, 1)
