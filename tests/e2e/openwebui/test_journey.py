"""A team's first day, in a real browser: an admin makes personas, users enter keys and chat, switches do what they say.

One deployment serves all tests; they build on each other's personas, in the order of this file.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.e2e.openwebui.person import ANSWER_MS, Person
from tests.e2e.openwebui.stage import Stage, heard, running_stage
from tests.e2e.openwebui.stock_webui import ADMIN
from tests.fakes.provider import ProviderRequest, Reply

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

GRANTS, KEYS = "Open Persona: Grants.gov", "Open Persona: my keys"
LETTERS, DESK = "donor-letters", "proposal-desk"
PROMPT = "You write thank-you letters to donors, and nothing else."
BOB_KEY, EVE_KEY = "sk-key-of-bob-0123456789", "sk-key-of-eve-0123456789"


@dataclass
class Team:
    """Who is at a browser."""

    stage: Stage
    ada: Person
    bob: Person

    async def asked(self, person: Person, words: str, *, answers: int) -> ProviderRequest:
        """One turn; the request that the provider got for it."""
        before = len(self.stage.provider.requests)
        await person.ask(words, f"heard: {words}", answers=answers)
        return self.stage.turns(before)[-1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def team(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Team]:
    async with running_stage(tmp_path_factory.mktemp("stage")) as stage:
        ada = await stage.somebody()
        await ada.sign_up(ADMIN["name"], ADMIN["email"], ADMIN["password"])
        await ada.shot("a-signed-up")
        await asyncio.to_thread(stage.webui.sign_in)
        await ada.create_model("Donor letters", "open-persona/build", PROMPT, [GRANTS])
        await ada.create_model("Proposal desk", "open-persona/grant-draft", "", [GRANTS])
        await expect(ada.page.get_by_text("Donor letters").first).to_be_visible()
        await ada.shot("b-personas")
        yield Team(stage, ada, await stage.user("bob"))


def grants_tools(request: ProviderRequest) -> list[str]:
    return [name for name in request.tool_names if name.startswith("grants_gov_")]


@pytest.mark.requirement("webui:key-is-asked-for")
async def test_without_a_key_the_answer_says_which_field_to_fill_in(team: Team) -> None:
    await team.bob.new_chat(LETTERS, tools=1)
    await team.bob.send("Thank our donors")
    await expect(team.bob.errors).to_be_visible(timeout=ANSWER_MS)
    said = await team.bob.errors.inner_text()
    assert "“Open Persona: my keys”" in said
    assert "“OpenAI API key”" in said
    await team.bob.shot("c-no-key")
    assert team.stage.provider.requests == []


@pytest.mark.requirement("webui:first-chat")
async def test_a_user_enters_a_key_and_chats(team: Team) -> None:
    bob = team.bob
    await bob.new_chat(LETTERS, tools=1)
    await bob.fill_in(KEYS, "OpenAI API key", BOB_KEY)
    request = await team.asked(bob, "Thank our donors", answers=1)
    await expect(bob.statuses).to_contain_text("Your workspace is ready")
    await bob.shot("c-answer")
    assert request.key == BOB_KEY
    assert PROMPT in request.system
    assert grants_tools(request) == request.tool_names
    assert request.tool_names
    follow_up = await team.asked(bob, "Shorter, please", answers=2)
    assert "Thank our donors" in "\n".join(follow_up.user_texts)
    await bob.shot("c-follow-up")


@pytest.mark.requirement("webui:locked-core")
async def test_the_base_model_brings_its_locked_core(team: Team) -> None:
    await team.bob.new_chat(DESK, tools=1)
    request = await team.asked(team.bob, "Draft the summary", answers=1)
    assert "grant" in request.system.lower()
    assert PROMPT not in request.system
    assert grants_tools(request)
    await team.bob.shot("d-grant-draft")


@pytest.mark.requirement("webui:tasks-disturb-nothing")
async def test_titles_tags_and_follow_ups_ask_no_provider_and_the_chat_has_its_title(team: Team) -> None:
    asked = len(team.stage.provider.requests)
    await team.bob.new_chat(LETTERS, tools=1)
    await team.asked(team.bob, "Letter to the Rivera foundation", answers=1)
    async with asyncio.timeout(20):
        while not re.search("Rivera", await team.bob.page.title()):
            await asyncio.sleep(0.1)
    assert len(team.stage.provider.requests) == asked + 1


@pytest.mark.requirement("webui:tick-is-live")
async def test_an_unticked_integration_is_gone_from_the_next_message_of_the_same_chat(team: Team) -> None:
    bob = team.bob
    await bob.new_chat(LETTERS, tools=1)
    assert grants_tools(await team.asked(bob, "One", answers=1))
    await team.ada.retick(LETTERS, [GRANTS])
    assert grants_tools(await team.asked(bob, "Two", answers=2)) == []
    await bob.shot("e-unticked")
    await team.ada.retick(LETTERS, [GRANTS])
    assert grants_tools(await team.asked(bob, "Three", answers=3))


@pytest.mark.requirement("webui:user-switches-off")
async def test_a_user_switches_a_ticked_integration_off_for_one_chat(team: Team) -> None:
    bob = team.bob
    await bob.new_chat(LETTERS, tools=1)
    await bob.press(GRANTS)
    assert grants_tools(await team.asked(bob, "Off", answers=1)) == []
    await bob.shot("f-switched-off")
    assert grants_tools(await team.asked(bob, "Still off", answers=2)) == []
    await bob.new_chat(LETTERS, tools=1)
    assert grants_tools(await team.asked(bob, "Another chat", answers=1))


@pytest.mark.requirement("webui:user-switches-off")
async def test_a_switch_for_what_the_persona_lacks_does_nothing_and_says_so(team: Team) -> None:
    bob = team.bob
    await bob.new_chat(LETTERS, tools=1)
    await bob.press("Open Persona: Instrumentl")
    request = await team.asked(bob, "With Instrumentl", answers=1)
    assert grants_tools(request) == request.tool_names
    await expect(bob.statuses).to_contain_text("Instrumentl is not part of this persona")


@pytest.mark.requirement("webui:on-without-a-tick")
async def test_what_meta_or_the_custom_parameter_switch_on_stays_on_without_a_tick(team: Team) -> None:
    on = {"integrations": {"grants_gov": {"enabled": True, "tools": ["list_codes"]}}}
    typed = {"custom_params": {"open_persona": json.dumps(on)}}
    for made in (model("by-meta", meta={"open_persona": on}), model("by-parameter", params=typed)):
        await team.stage.api("/api/v1/models/create", made)
        await team.bob.new_chat(str(made["id"]))
        request = await team.asked(team.bob, f"Asked {made['id']}", answers=1)
        assert request.tool_names == ["grants_gov_list_codes"]


def model(name: str, meta: Mapping[str, object] = {}, params: Mapping[str, object] = {}) -> dict[str, object]:
    """A Model for everybody, as Open WebUI's API takes it."""
    public = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
    return {
        "id": name, "name": name, "base_model_id": "open-persona/build", "access_grants": public, "params": params,
        "meta": {"description": "", "capabilities": {"builtin_tools": False}, **meta}, "is_active": True,
    }  # fmt: skip


@pytest.mark.requirement("webui:two-models")
async def test_two_models_at_once_keep_what_each_has_on(team: Team) -> None:
    bob, provider = team.bob, team.stage.provider
    await team.stage.api("/api/v1/models/create", model("bare-letters"))
    before = len(provider.requests)
    await bob.new_chat(LETTERS, "bare-letters")
    await bob.send("Both of you")
    await expect(bob.answers).to_have_count(2, timeout=ANSWER_MS)
    for index in range(2):
        await expect(bob.answers.nth(index)).to_contain_text("heard: Both of you", timeout=ANSWER_MS)
    await bob.settled()
    await bob.shot("f-two-models")
    offered = {bool(grants_tools(request)) for request in team.stage.turns(before)}
    assert offered == {True, False}


@pytest.mark.requirement("webui:old-drafts")
async def test_an_old_draft_does_not_switch_a_new_tick_off(team: Team) -> None:
    bob = team.bob
    await team.stage.api("/api/v1/models/create", model("late-tick"))
    await bob.new_chat("late-tick")
    assert grants_tools(await team.asked(bob, "Before the tick", answers=1)) == []
    await bob.composer.fill("a draft")
    began = int(time.time())
    while int(time.time()) == began:  # what is compared has whole seconds
        await asyncio.sleep(0.05)
    await team.ada.retick("late-tick", [GRANTS])
    assert grants_tools(await team.asked(bob, "On the old page", answers=2))
    await bob.page.reload()
    assert grants_tools(await team.asked(bob, "After a reload", answers=3))
    await expect(bob.statuses.last).to_contain_text("Grants.gov is on: this persona got it after this chat began")
    await bob.shot("f-old-draft")


@pytest.mark.requirement("webui:izzy-remembers")
async def test_izzy_goes_on_where_the_chat_is_and_a_regenerated_answer_forks_it(team: Team) -> None:
    bob = team.bob
    await bob.new_chat("izzy")
    await team.asked(bob, "The word is walnut", answers=1)
    follow_up = await team.asked(bob, "Which word?", answers=2)
    assert [item["role"] for item in follow_up.messages if item.get("role") != "developer"] == [
        "user",
        "assistant",
        "user",
    ]
    await bob.page.get_by_role("button", name="Regenerate").last.click()
    await bob.page.get_by_role("button", name="Try Again").or_(bob.page.get_by_text("Try Again")).first.click()
    await bob.settled()
    again = team.stage.provider.requests[-1]
    assert len([item for item in again.messages if item.get("role") == "assistant"]) == 1
    await bob.shot("i-izzy")


@pytest.mark.requirement("webui:stop")
async def test_stopping_an_answer_ends_the_providers_request(team: Team) -> None:
    bob, provider = team.bob, team.stage.provider
    provider.script(Reply(text=["It begins", " and never ends"], stall="middle"))
    try:
        await bob.new_chat(LETTERS, tools=1)
        before = len(provider.requests)
        await bob.send("Write for ever")
        await expect(bob.answers.last).to_contain_text("It begins", timeout=ANSWER_MS)
        await bob.shot("g-running")
        pressed = time.monotonic()
        await bob.stop_button.click()
        request = await provider.wait_closed(before)
        assert request.closed_at is not None
        assert request.closed_at - pressed < 2
        await bob.settled()
        await expect(bob.answers.last).to_contain_text("It begins")
        await bob.shot("g-stopped")
    finally:
        provider.script(heard)


@pytest.mark.requirement("webui:own-keys")
async def test_two_users_at_once_use_their_own_keys_alone(team: Team) -> None:
    eve = await team.stage.user("eve")
    await eve.new_chat(LETTERS, tools=1)
    await eve.fill_in(KEYS, "OpenAI API key", EVE_KEY)
    await team.bob.new_chat(LETTERS, tools=1)
    before = len(team.stage.provider.requests)
    async with asyncio.TaskGroup() as group:
        for person, words in ((team.bob, "I am Bob"), (eve, "I am Eve")):
            group.create_task(person.ask(words, f"heard: {words}", answers=1))
    used = {(heard(request), request.key) for request in team.stage.turns(before)}
    assert used == {("heard: I am Bob", BOB_KEY), ("heard: I am Eve", EVE_KEY)}
    await eve.shot("h-eve")
    for person, other in ((team.bob, "Eve"), (eve, "Bob")):
        assert other not in await person.answers.last.inner_text()
