"""Everything that a user's message passes, real but for the model provider and Grants.gov, with browsers to use it.

Open WebUI, the hub, the integrations, the sidecar and opencode are processes of their own. A second model provider,
of another connection of the same Open WebUI, records what it gets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser

from tests.e2e.browser import open_browser
from tests.e2e.openwebui.person import Person
from tests.e2e.openwebui.services import Services
from tests.e2e.openwebui.stock_webui import ROOT, WebUI, eventually, stock_webui
from tests.e2e.process.deployment import free_port
from tests.fakes.grants_gov import running_fake
from tests.fakes.provider import FakeProvider, ProviderRequest, running_provider

SHOTS = ROOT / ".artifacts" / "openwebui"
"""Pictures of the steps, kept by CI; ignored by git."""

OTHER_MODEL = "other-model"
OTHER_KEY = "sk-of-the-other-connection"


def heard(request: ProviderRequest) -> str:
    """The provider's answer: it says what it heard last."""
    said = request.last_user.strip().splitlines()
    return f"heard: {said[-1] if said else ''}"


@dataclass
class Stage:
    """All of it, running; ``people`` are signed in on demand."""

    webui: WebUI
    services: Services
    provider: FakeProvider
    other: FakeProvider
    browser: Browser
    people: list[Person] = field(default_factory=list)

    async def somebody(self) -> Person:
        person = await Person.at(self.browser, self.webui.url, SHOTS)
        self.people.append(person)
        return person

    async def user(self, name: str) -> Person:
        """A new ordinary user, signed in at a browser."""
        account = {"name": name.title(), "email": f"{name}@example.org", "password": "correct-horse-2", "role": "user"}
        await asyncio.to_thread(self.webui.post, "/api/v1/auths/add", account)
        person = await self.somebody()
        await person.sign_in(account["email"], account["password"])
        return person

    async def api(self, path: str, body: object = None) -> Any:
        """Open WebUI's API, as the admin."""
        if body is None:
            return await asyncio.to_thread(self.webui.get, path)
        return await asyncio.to_thread(self.webui.post, path, body)

    def turns(self, since: int = 0) -> list[ProviderRequest]:
        """What the provider was asked, from one count of requests on."""
        return self.provider.requests[since:]


def base_environment(other: FakeProvider) -> dict[str, str]:
    """A connection to the other provider, there before ours is seeded."""
    return {"OPENAI_API_BASE_URLS": other.url, "OPENAI_API_KEYS": OTHER_KEY}


@asynccontextmanager
async def running_stage(folder: Path) -> AsyncIterator[Stage]:
    """Everything, seeded; nobody has signed up yet."""
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(running_provider(heard))
        other = await stack.enter_async_context(running_provider("the other one", models=[OTHER_MODEL]))
        grants = await stack.enter_async_context(running_fake())
        more = {
            "OPEN_PERSONA_PROVIDERS": "openai,anthropic",
            "OPEN_PERSONA_OPENAI_BASE_URL": provider.url,
            "OPEN_PERSONA_PROCESS_SHARED": "1",
            "OPEN_PERSONA_GRANTS_GOV_BASE_URL": grants.url,
        }
        services = Services(folder / "services", more)
        for name in ("grants_gov", "instrumentl"):
            services.add_shipped(name)
        started = await stack.enter_async_context(_in_thread(services))
        environment = {**started.for_webui, **base_environment(other)}
        webui = await stack.enter_async_context(running_webui(folder / "webui", environment))
        browser = await stack.enter_async_context(open_browser())
        yield Stage(webui, services, provider, other, browser)


@asynccontextmanager
async def running_webui(folder: Path, environment: dict[str, str]) -> AsyncIterator[WebUI]:
    """The stock Open WebUI, seeded."""
    with stock_webui(folder, free_port(), environment, start=False) as webui:
        await asyncio.to_thread(webui.start)
        await asyncio.to_thread(seeded, webui, environment["OPEN_PERSONA_SIDECAR_API_KEY"])
        yield webui


def seeded(webui: WebUI, key: str) -> None:
    """Returns when the seeder has put everything in its place."""

    def state() -> bool:
        answer = webui.api.get(f"{webui.url}/open-persona/status", headers={"authorization": f"Bearer {key}"})
        return bool(answer.status_code == 200 and answer.json()["seed"]["state"] == "seeded")

    eventually(state, within=60, what="seeded")


@asynccontextmanager
async def _in_thread(services: Services) -> AsyncIterator[Services]:
    """Their starts and ends wait, and the fakes live in this event loop."""
    try:
        await asyncio.to_thread(services.start)
        yield services
    finally:
        await asyncio.to_thread(services.stop)
