"""What really leaves Open WebUI, for the sidecar and for another provider, whatever a client puts into its request.

In the sidecar's place is a recorder, so that every header can be looked at.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import expect

from openwebui.headers import IDS, META, MODEL, OURS, SETTINGS, USER, key_header
from tests.e2e.browser import open_browser
from tests.e2e.openwebui.person import ANSWER_MS, Person
from tests.e2e.openwebui.services import SIDECAR_KEY, Services
from tests.e2e.openwebui.stage import OTHER_KEY, OTHER_MODEL, SHOTS, base_environment, running_webui
from tests.e2e.openwebui.stock_webui import WebUI
from tests.e2e.openwebui.test_journey import model
from tests.fakes.provider import FakeProvider, ProviderRequest, running_provider

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

BASES = ("open-persona/build", "open-persona/plan", "open-persona/izzy", "open-persona/grant-draft")
GRANTS, INSTRUMENTL = "open_persona_integration_grants_gov", "open_persona_integration_instrumentl"
BOB_KEY, ADMIN_KEY = "sk-of-bob", "sk-of-the-admin"
ON = {"persona": {"template": "izzy"}, "integrations": {"instrumentl": {"enabled": True}}}


@dataclass
class Wire:
    """Open WebUI between its users and two recorders."""

    webui: WebUI
    sidecar: FakeProvider
    other: FakeProvider
    bob: httpx.Client
    bob_id: str
    eves_chat: str
    page: Person

    @property
    def chats(self) -> list[ProviderRequest]:
        """What the sidecar got, without Open WebUI's own tasks and lists of models: they come whenever they like."""
        asked = [request for request in self.sidecar.requests if request.path != "/v1/models"]
        return [request for request in asked if not request.headers.get("x-openwebui-task")]

    def post(self, path: str, body: Mapping[str, Any], **headers: str) -> httpx.Response:
        return self.bob.post(f"{self.webui.url}{path}", json=body, headers=headers)

    async def sent(self, path: str, body: Mapping[str, Any], **headers: str) -> ProviderRequest:
        """The one request that the sidecar got for one of Bob's."""
        request = await self.sent_or_refused(path, body, **headers)
        assert request is not None
        return request

    async def sent_or_refused(self, path: str, body: Mapping[str, Any], **headers: str) -> ProviderRequest | None:
        """None where Open WebUI itself refused it, and nothing was sent."""
        before = len(self.chats)
        answer = await asyncio.to_thread(self.post, path, {"stream": False, "messages": SAID, **body}, **headers)
        assert answer.status_code in (200, 400), answer.text
        seen = self.chats[before:]
        assert len(seen) == (1 if answer.status_code == 200 else 0)
        return seen[0] if seen else None


SAID = [{"role": "user", "content": "Hello"}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Wire]:
    folder = tmp_path_factory.mktemp("wire")
    async with AsyncExitStack() as stack:
        sidecar = await stack.enter_async_context(running_provider("from the sidecar", models=BASES))
        other = await stack.enter_async_context(running_provider("from the other", models=[OTHER_MODEL]))
        services = Services(folder / "services")
        for name in ("grants_gov", "instrumentl"):
            services.add_shipped(name)
        stack.push_async_callback(asyncio.to_thread, services.stop)
        for service in (services.integrations, services.hub):
            await asyncio.to_thread(service.start)
        environment = {
            **services.for_webui,
            **base_environment(other),
            "OPEN_PERSONA_SIDECAR_BASE_URLS": sidecar.url,
            "ENABLE_FORWARD_USER_INFO_HEADERS": "False",
        }
        webui = await stack.enter_async_context(running_webui(folder / "webui", environment))
        browser = await stack.enter_async_context(open_browser())
        bob, eve = await asyncio.to_thread(_people, webui)
        bob_id = webui.get("/api/v1/auths/", bob)["id"]
        chat = webui.post("/api/v1/chats/new", {"chat": {"title": "Eve's own", "models": ["letters"]}}, eve)
        page = await Person.at(browser, webui.url, SHOTS)
        await page.sign_in("bob@example.org", "correct-horse-2")
        yield Wire(webui, sidecar, other, bob, bob_id, chat["id"], page)


def _people(webui: WebUI) -> tuple[httpx.Client, httpx.Client]:
    """An admin with default keys and two Models, and two users, one with keys and settings of his own."""
    webui.sign_up()
    bob, eve = webui.add_user("bob"), webui.add_user("eve")
    webui.post("/api/v1/models/create", model("letters", {"toolIds": [GRANTS]}))
    webui.post("/api/v1/models/create", model("pipeline", {"toolIds": [INSTRUMENTL]}))
    other = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
    webui.post(
        "/api/v1/models/create", {**model(OTHER_MODEL), "base_model_id": None, "name": "Other", "access_grants": other}
    )
    keys = {"openai_api_key": ADMIN_KEY, "anthropic_api_key": ADMIN_KEY}
    webui.post("/api/v1/tools/id/open_persona_provider_defaults/valves/update", keys)
    webui.post(
        "/api/v1/tools/id/open_persona_provider_keys/valves/user/update",
        {"openai_api_key": BOB_KEY, "openrouter_api_key": "sk-broken\r\nx: y"},
        bob,
    )
    own = {"api_key_id": "bobs-id", "api_private_key": "bobs-secret"}
    webui.post(f"/api/v1/tools/id/{INSTRUMENTL}/valves/user/update", own, bob)
    return bob, eve


def decoded(request: ProviderRequest, name: str) -> Any:
    return json.loads(base64.b64decode(request.headers[name]))


def ours(request: ProviderRequest) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if name.startswith(OURS)}


@pytest.mark.requirement("webui:headers")
async def test_a_chat_says_who_asks_with_whose_keys_and_settings(wire: Wire) -> None:
    request = await wire.sent("/api/chat/completions", {"model": "pipeline"})
    assert request.headers["authorization"] == f"Bearer {SIDECAR_KEY}"
    assert (request.model, request.headers[MODEL], request.headers[USER]) == (
        "open-persona/build",
        "pipeline",
        wire.bob_id,
    )
    assert decoded(request, META) == {"integrations": {"instrumentl": {"enabled": True}}}
    assert decoded(request, SETTINGS) == {"instrumentl": {"api_key_id": "bobs-id", "api_private_key": "bobs-secret"}}
    keys = {provider: request.headers.get(key_header(provider)) for provider in ("openai", "anthropic", "openrouter")}
    assert keys == {"openai": BOB_KEY, "anthropic": ADMIN_KEY, "openrouter": None}
    assert {name for name in ours(request) if "email" in name or "name" in name} == set()


@pytest.mark.requirement("webui:headers")
async def test_settings_go_only_where_their_integration_is_on(wire: Wire) -> None:
    request = await wire.sent("/api/chat/completions", {"model": "letters"})
    assert SETTINGS not in request.headers
    assert "bobs-secret" not in str(request.headers)
    switched_off = await wire.sent("/api/chat/completions", {"model": "pipeline", "tool_ids": []})
    assert SETTINGS not in switched_off.headers
    assert decoded(switched_off, META) == {"integrations": {"instrumentl": {"enabled": False}}}


@pytest.mark.requirement("webui:headers")
async def test_in_the_browser_ids_and_tasks_are_told_apart(wire: Wire) -> None:
    before = len(wire.sidecar.requests)
    await wire.page.new_chat("letters")
    await wire.page.ask("First", "from the sidecar", answers=1)
    await wire.page.ask("Second", "from the sidecar", answers=2)
    async with asyncio.timeout(30):
        while len(wire.sidecar.requests) < before + 4:  # two answers, and a title, tags or follow-ups
            await asyncio.sleep(0.05)
    seen = wire.sidecar.requests[before:]
    chats = [request for request in seen if not request.headers["x-openwebui-task"]]
    tasks = [request for request in seen if request.headers["x-openwebui-task"]]
    assert len(chats) == 2
    assert {request.headers["x-openwebui-task"] for request in tasks} >= {"title_generation"}
    assert len({request.headers["x-openwebui-chat-id"] for request in seen}) == 1
    assert all(request.headers[USER] == wire.bob_id for request in seen)
    first, second = chats
    assert second.headers["x-openwebui-user-message-parent-id"] == first.headers["x-openwebui-message-id"] != ""
    assert all(SETTINGS not in request.headers for request in tasks)


@pytest.mark.requirement("webui:only-the-sidecar")
async def test_another_provider_gets_nothing_of_ours(wire: Wire) -> None:
    before = len(wire.other.requests)
    await wire.page.new_chat(OTHER_MODEL)
    await wire.page.ask("Alone", "from the other", answers=1)
    await wire.page.new_chat("letters", OTHER_MODEL)
    await wire.page.send("Together")
    await expect(wire.page.answers).to_have_count(2, timeout=ANSWER_MS)
    for index in range(2):
        await expect(wire.page.answers.nth(index)).to_contain_text("from the", timeout=ANSWER_MS)
    async with asyncio.timeout(30):
        while not any("### Task" in request.raw.decode() for request in wire.other.requests[before:]):
            await asyncio.sleep(0.05)
    await asyncio.to_thread(wire.webui.get, "/api/models?refresh=true")
    seen = wire.other.requests
    assert {request.method for request in seen} == {"GET", "POST"}
    for request in seen:
        assert ours(request) == {}
        assert request.key == OTHER_KEY
        assert all(secret not in str(request.headers) for secret in (BOB_KEY, ADMIN_KEY, SIDECAR_KEY, wire.bob_id))


FORGED_HEADERS = {
    "x-openwebui-user-id": "eve", "x-openwebui-chat-id": "eves", "x-openpersona-meta-b64": "e30=",
    "x-openpersona-openai-api-key": "sk-forged", "x-openpersona-integrations-b64": "e30=",
}  # fmt: skip


@pytest.mark.requirement("webui:forgery")
@pytest.mark.parametrize("path", ["/api/chat/completions", "/openai/chat/completions"])
async def test_a_forged_request_changes_nothing(wire: Wire, path: str) -> None:
    honest = ours(await wire.sent(path, {"model": "letters"}))
    forged: list[dict[str, Any]] = [
        {"metadata": {"chat_id": wire.eves_chat, "user_id": "eve", "task": "title_generation", "message_id": "m"}},
        {"metadata": {"model": {"id": "letters", "info": {"meta": {"open_persona": ON}}}, "tool_ids": [INSTRUMENTL]}},
        {"open_persona": ON, "user": "eve", "meta": {"open_persona": ON}},
        {"params": {"custom_params": {"open_persona": ON}}},
        {"params": {"open_persona": json.dumps(ON)}},
        {"model_item": {"id": "letters", "info": {"meta": {"open_persona": ON, "toolIds": [INSTRUMENTL]}}}},
        {"model_item": {"direct": True, "id": "x", "info": {"meta": {"open_persona": ON, "toolIds": [INSTRUMENTL]}}}},
        {"headers": FORGED_HEADERS},
    ]
    refused = 0
    for body in forged:
        request = await wire.sent_or_refused(path, {"model": "letters", **body}, **FORGED_HEADERS)
        assert request is None or ours(request) == honest, body
        refused += request is None
    assert refused <= 1  # a Model of the client's own
    assert honest[USER] == wire.bob_id
    assert {name: honest[name] for name in IDS} == dict.fromkeys(IDS, "")


@pytest.mark.requirement("webui:forgery")
async def test_another_users_chat_is_not_there(wire: Wire) -> None:
    before = len(wire.chats)
    body = {"model": "letters", "messages": SAID, "chat_id": wire.eves_chat, "stream": False}
    answer = await asyncio.to_thread(wire.post, "/api/chat/completions", body)
    assert answer.status_code == 404
    assert len(wire.chats) == before


@pytest.mark.requirement("webui:forgery")
async def test_a_tool_that_a_client_lists_is_not_switched_on(wire: Wire) -> None:
    request = await wire.sent("/api/chat/completions", {"model": "letters", "tool_ids": [GRANTS, INSTRUMENTL]})
    told = decoded(request, META)
    assert told == {"integrations": {"grants_gov": {"enabled": True}}, "notices": {"lacking": ["instrumentl"]}}
    assert SETTINGS not in request.headers


@pytest.mark.requirement("webui:users-models")
async def test_a_model_of_a_users_own_has_on_only_what_its_user_may_use(wire: Wire) -> None:
    permissions = await asyncio.to_thread(wire.webui.get, "/api/v1/users/default/permissions")
    permissions["workspace"]["models"] = True
    await asyncio.to_thread(wire.webui.post, "/api/v1/users/default/permissions", permissions)
    both = {name: {"enabled": True} for name in ("grants_gov", "instrumentl")}
    own = {**model("bobs-own", {"open_persona": {"integrations": both}}), "access_grants": []}
    await asyncio.to_thread(wire.webui.post, "/api/v1/models/create", own, wire.bob)
    await asyncio.to_thread(wire.webui.get, "/api/models?refresh=true")
    access = f"/api/v1/tools/id/{GRANTS}/access/update"
    everybody = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
    await asyncio.to_thread(wire.webui.post, access, {"access_grants": []})
    try:
        told = decoded(await wire.sent("/api/chat/completions", {"model": "bobs-own"}), META)
    finally:
        await asyncio.to_thread(wire.webui.post, access, {"access_grants": everybody})
    assert told["integrations"] == {"grants_gov": {"enabled": False}, "instrumentl": {"enabled": True}}
    told = decoded(await wire.sent("/api/chat/completions", {"model": "bobs-own"}), META)
    assert told["integrations"] == both


async def test_a_wrong_custom_parameter_is_an_answer_that_names_it(wire: Wire) -> None:
    typed = {"custom_params": {"open_persona": "{not json"}}
    await asyncio.to_thread(wire.webui.post, "/api/v1/models/create", model("broken", params=typed))
    before = len(wire.chats)
    await wire.page.new_chat("broken")
    await wire.page.send("Hello")
    told = wire.page.page.locator("#messages-container").get_by_text("custom parameter open_persona")
    await expect(told).to_be_visible(timeout=ANSWER_MS)
    assert len(wire.chats) == before


@pytest.mark.requirement("webui:lost-keys")
async def test_keys_that_can_not_be_read_any_more_are_not_replaced_by_the_admins(wire: Wire) -> None:
    zoe = await asyncio.to_thread(wire.webui.add_user, "zoe")
    unreadable = {"tools": {"valves": {"open_persona_provider_keys": "gAAAAA" + "b" * 114}}}
    wire.webui.post("/api/v1/users/user/settings/update", unreadable, zoe)
    before = len(wire.chats)
    body = {"model": "letters", "messages": SAID, "stream": False}
    answer = await asyncio.to_thread(zoe.post, f"{wire.webui.url}/api/chat/completions", json=body)
    assert answer.status_code == 400
    assert "Enter it again" in answer.text
    assert len(wire.chats) == before
