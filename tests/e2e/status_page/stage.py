"""A real hub over real MCP servers, and its page in a real browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import Browser, Page

from hub.mcp_http import open_client
from tests.fakes.asgi_server import serve_app
from tests.hub.changing import ChangingServer, checked
from tests.hub.runners import KEY, World, add, world
from tests.hub.servers import free_address, good_app

FAST = "{interval_s: 0.5, timeout_s: 2, failures_before_down: 2}"
SLOW = "{interval_s: 3600}"
ARTIFACTS = Path(".artifacts") / "hub"
SHORT_MS = 5000


def manifest(url: str, name: str, *, title: str, tools: str = "{}", probe: str = FAST, about: str = "") -> str:
    return (
        f"manifest_version: 1\nname: {name}\ntitle: {title}\ndescription: {about or 'A server of the tests.'}\n"
        f"transport: {{type: http, url: '{url}/mcp'}}\ntools: {tools}\nprobe: {probe}\n"
    )


@dataclass
class Stage:
    """``news`` is a pinned integration with ``server`` behind it, ``files`` one that ``stop`` and ``start`` kill and
    bring back."""

    world: World
    browser: Browser
    server: ChangingServer
    port: int
    _files: AsyncExitStack

    async def stop(self) -> None:
        await self._files.aclose()

    async def start(self) -> None:
        await self._files.enter_async_context(serve_app(good_app(), port=self.port))

    @asynccontextmanager
    async def page(self, *, width: int = 1280, scheme: Any = "light", **options: Any) -> AsyncIterator[Page]:
        """The page in a tab of its own; what it logs as an error, and every request elsewhere, is one here."""
        context = await self.browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, **options
        )
        page, wrong = await context.new_page(), list[str]()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda one: None if one.url.startswith(self.world.url) else wrong.append(one.url))
        page.on("console", lambda one: wrong.append(one.text) if "Content Security Policy" in one.text else None)
        page.set_default_timeout(SHORT_MS)
        await page.goto(self.world.url)
        try:
            yield page
        finally:
            await context.close()
        assert wrong == []

    async def changed(self, **tools: str) -> None:
        """The tools of ``news`` are these from now on, and the hub has seen them."""
        self.server.set(**tools)
        await checked(self.world.hub, "news")


@asynccontextmanager
async def stage(browser: Browser, tmp: Path) -> AsyncIterator[Stage]:
    servers = tmp / "mcp_servers"
    servers.mkdir()
    async with AsyncExitStack() as stack:
        http: aiohttp.ClientSession = await stack.enter_async_context(open_client())
        server = ChangingServer(search="Look for news.", latest="The latest news.")
        news = await stack.enter_async_context(serve_app(server.app))
        files = await stack.enter_async_context(AsyncExitStack())
        url = await files.enter_async_context(serve_app(good_app()))
        add(servers, "news", manifest(news, "news", title="News", probe=SLOW, about="What papers write today."))
        add(servers, "files", manifest(url, "files", title="Files", tools="{echo: read}"))
        add(servers, "archive", manifest(await free_address(), "archive", title="Archive", tools="{open_box: read}"))
        add(servers, "broken", "manifest_version: 1\nname: broken\nport: 7\n")
        add(servers, "closed", manifest(url, "closed", title="Switched off"))
        made = await stack.enter_async_context(world(http, tmp, servers, hub_disabled="closed"))
        await made.until(lambda: made.hub.board.standing("archive").health == "down")
        yield Stage(made, browser, server, int(url.rsplit(":", 1)[1]), files)


async def give_key(page: Page, key: str = KEY) -> None:
    """Answers the page's question for the service key."""
    await page.get_by_label("Key", exact=True).fill(key)
    await page.get_by_role("button", name="Go on").click()
