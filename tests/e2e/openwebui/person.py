"""Somebody at a browser, in the stock pages of Open WebUI 0.12.4: what they press, and what they see."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, Locator, Page, ViewportSize, expect

PATIENCE_MS = 30_000
ANSWER_MS = 90_000
SIZE: ViewportSize = {"width": 1280, "height": 900}


def _starting(words: str) -> re.Pattern[str]:
    return re.compile(rf"^\s*{re.escape(words)}")


@dataclass
class Person:
    """One browser context, signed in as one account."""

    page: Page
    shots: Path

    @classmethod
    async def at(cls, browser: Browser, url: str, shots: Path) -> Person:
        context = await browser.new_context(viewport=SIZE, base_url=url, reduced_motion="reduce")
        context.set_default_timeout(PATIENCE_MS)
        return cls(await context.new_page(), shots)

    async def shot(self, name: str) -> None:
        """A picture of the page, for people to look at."""
        self.shots.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=self.shots / f"{name}.png")

    # Signing in.

    async def sign_up(self, name: str, email: str, password: str) -> None:
        """The first account of an empty Open WebUI, which becomes its admin."""
        await self.page.goto("/auth")
        started = self.page.get_by_role("button", name=re.compile("get started", re.IGNORECASE))
        form = self.page.locator("#name, input[autocomplete='name']")
        await expect(started.or_(form).first).to_be_visible(timeout=PATIENCE_MS)
        if await started.count():
            await started.first.click()
        await form.fill(name)
        await self._credentials(email, password)
        await self.page.get_by_role("button", name=re.compile("create admin account", re.IGNORECASE)).click()
        await self._signed_in()

    async def sign_in(self, email: str, password: str) -> None:
        await self.page.goto("/auth")
        await self._credentials(email, password)
        await self.page.get_by_role("button", name=re.compile("^sign in$", re.IGNORECASE)).click()
        await self._signed_in()

    async def _credentials(self, email: str, password: str) -> None:
        await self.page.locator("input[type='email']").fill(email)
        await self.page.locator("input[type='password']").first.fill(password)

    async def _signed_in(self) -> None:
        broken = self.page.get_by_text("500: Internal Error")
        await expect(self.composer.or_(broken).first).to_be_visible(timeout=PATIENCE_MS)
        if await broken.count():  # the stock page can lose a race at its first load: people reload it
            await self.page.reload()
            await expect(self.composer).to_be_visible(timeout=PATIENCE_MS)
        told = self.page.get_by_role("button", name=re.compile("okay, let's go", re.IGNORECASE))
        if await told.count():  # what is new in this version
            await told.click()

    # The editor of Models.

    async def create_model(self, name: str, base: str, prompt: str, ticks: Collection[str]) -> None:
        """A Model for everybody, on a base model, with tools ticked by their names."""
        await self.page.goto("/workspace/models/create")
        await self.page.get_by_placeholder("Model Name").fill(name)
        await self.page.locator("#model-selector-workspace-base-model-button").click()
        await self.page.get_by_role("option").filter(has_text=base).first.click()
        if prompt:
            await self.page.get_by_placeholder(re.compile("Write your model system prompt")).fill(prompt)
        await self._tick(ticks)
        await self.page.get_by_role("button", name="Access", exact=True).click()
        await self.page.get_by_role("button", name=re.compile("Visibility")).click()
        await self.page.locator("button", has_text=_starting("Public")).click()
        await self.page.get_by_role("button", name="Close").click()
        await self.shot(f"editor-{name.lower().replace(' ', '-')}")
        await self._save("Save & Create")

    async def retick(self, model_id: str, ticks: Collection[str]) -> None:
        """Press these tools in an existing Model: what was ticked is not any more, and the other way round."""
        await self.page.goto(f"/workspace/models/edit?id={model_id}")
        await expect(self.page.get_by_placeholder("Model Name")).not_to_have_value("")
        await self._tick(ticks)
        await self._save("Save & Update")

    async def _tick(self, ticks: Collection[str]) -> None:
        if not ticks:
            return
        await self.page.get_by_role("button", name=re.compile("^Tools")).click()
        for name in ticks:
            await self.page.locator("button.selected-command-option-button", has_text=name).click()
        await self.page.get_by_role("button", name="Done").click()

    async def _save(self, label: str) -> None:
        await self.page.get_by_role("button", name=label).click()
        await self.page.wait_for_url(re.compile(r"/workspace/models$"))

    # The menu under the message box.

    async def open_tools(self) -> None:
        await self.page.locator("#integration-menu-button").click()
        await self.page.locator("button", has_text=_starting("Tools")).last.click()

    async def close_menu(self) -> None:
        await self.page.keyboard.press("Escape")
        await expect(self.page.get_by_placeholder("Search tools")).to_have_count(0)

    def tool(self, name: str) -> Locator:
        """The row of a tool in the menu."""
        return self.page.locator("div[role=presentation]").filter(has_text=name)

    async def fill_in(self, tool: str, field: str, value: str) -> None:
        """Enter one of a tool's settings, and save."""
        await self.open_tools()
        await self.tool(tool).get_by_role("button", name="Valves", exact=True).click()
        form = self.page.locator("form").filter(has_text=field)
        # The innermost box that holds both the title and its button.
        row = form.locator("div", has_text=_starting(field)).filter(has=self.page.get_by_role("button")).last
        await expect(row).to_be_visible(timeout=PATIENCE_MS)
        if await row.get_by_text("Default", exact=True).count() or await row.get_by_text("None", exact=True).count():
            await row.get_by_role("button").click()
        await form.locator("input").first.fill(value)
        await self.shot(f"settings-{re.sub('[^a-z]+', '-', tool.lower())}")
        await form.get_by_role("button", name="Save").click()
        await expect(self.page.get_by_text("Valves updated successfully")).to_be_visible()
        await self.page.keyboard.press("Escape")

    async def press(self, tool: str) -> None:
        """Switch a tool on or off for this chat."""
        await self.open_tools()
        await self.tool(tool).get_by_role("menuitemcheckbox").click()
        await self.close_menu()

    # A chat.

    @property
    def composer(self) -> Locator:
        return self.page.locator("#chat-input")

    @property
    def answers(self) -> Locator:
        return self.page.locator("#messages-container [id='response-content-container']")

    @property
    def errors(self) -> Locator:
        """The box with what went wrong, in an answer's place."""
        return self.page.locator("#messages-container").get_by_text(re.compile("Integrations > Tools"))

    @property
    def statuses(self) -> Locator:
        return self.page.get_by_label("Toggle status history")

    async def new_chat(self, *models: str, tools: int = 0) -> None:
        """The page of a new chat, with so many tools switched on by the Model: the page does that a moment late."""
        await self.page.goto(f"/?models={','.join(models)}")
        await expect(self.composer).to_be_visible()
        await expect(self.page.locator("#integration-menu-button")).to_be_visible()
        if tools:
            await expect(self.page.get_by_role("button", name="Available Tools")).to_contain_text(str(tools))

    async def send(self, words: str) -> None:
        await self.composer.fill(words)
        await self.page.keyboard.press("Enter")

    async def ask(self, words: str, answer: str, *, answers: int) -> None:
        """Send, and wait until there are so many answers, of which the last holds ``answer``."""
        await self.send(words)
        await expect(self.answers).to_have_count(answers, timeout=ANSWER_MS)
        await expect(self.answers.last).to_contain_text(answer, timeout=ANSWER_MS)
        await self.settled()

    async def settled(self) -> None:
        """Returns when nothing is being answered any more."""
        await expect(self.stop_button).to_have_count(0, timeout=ANSWER_MS)

    @property
    def stop_button(self) -> Locator:
        return self.page.get_by_role("button", name="Stop", exact=True)

    async def leave(self) -> None:
        await self.page.context.close()
