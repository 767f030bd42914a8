"""The page with a hundred integrations: trouble first, the rest folded away and found by words."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import expect

from hub.mcp_http import open_client
from tests.e2e.browser import open_browser
from tests.e2e.status_page.axe import axe_source, violations
from tests.e2e.status_page.stage import ARTIFACTS, SLOW, manifest
from tests.fakes.asgi_server import serve_app
from tests.hub.runners import add, world
from tests.hub.servers import free_address, good_app

pytestmark = pytest.mark.real


@pytest.mark.requirement("page:filter")
async def test_a_hundred_integrations_are_folded_and_found(tmp_path: Path) -> None:
    servers = tmp_path / "mcp_servers"
    servers.mkdir()
    async with serve_app(good_app()) as url, open_client() as http, open_browser() as browser:
        for at in range(99):
            add(servers, f"s{at:02}x", manifest(url, f"s{at:02}x", title=f"Service {at}", probe=SLOW))
        add(servers, "gone", manifest(await free_address(), "gone", title="Gone", probe="{failures_before_down: 1}"))
        async with world(http, tmp_path, servers) as made:
            context = await browser.new_context(viewport={"width": 400, "height": 900}, bypass_csp=True)
            page = await context.new_page()
            await page.goto(made.url)
            cards = page.locator(".card:visible")
            await expect(cards.first).to_contain_text("Gone")
            await expect(page.locator("#i-s42x .facts")).to_be_hidden()
            await page.locator("#i-s42x-more summary").click()
            await expect(page.locator("#i-s42x .facts")).to_be_visible()
            await page.get_by_label("Filter").fill("service 42 healthy")
            await expect(page.locator("#shown")).to_have_text("1 of 100 shown")
            await page.get_by_label("Filter").fill("refused")
            await expect(cards).to_have_count(1)
            await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            await expect(cards).to_have_count(1)
            await page.get_by_label("Filter").fill("")
            await expect(page.locator(".card:not([hidden])")).to_have_count(100)
            ARTIFACTS.mkdir(parents=True, exist_ok=True)
            await page.screenshot(path=ARTIFACTS / "many-400-light.png")
            assert await violations(page, await asyncio.to_thread(axe_source)) == []
            assert await page.evaluate("document.documentElement.scrollWidth") <= 400
            await context.close()
