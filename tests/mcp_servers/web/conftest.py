"""The real web server over HTTP, with a small internet of real servers behind public addresses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from pydantic import JsonValue

from mcp_servers.kit.clock import SystemClock
from mcp_servers.web.fetch import Limits, PageFetcher
from mcp_servers.web.server import build_app
from tests.fakes.asgi_server import serve_app
from tests.fakes.websites import FakeInternet, running_internet
from tests.mcp_servers.mcp_session import connected, failure_of, payload_of

QUICK = Limits(total_s=3.0, connect_s=1.0, idle_s=1.0, page_bytes=512 * 1024, file_bytes=1024 * 1024)


@dataclass
class Web:
    """The tool as a client sees it."""

    url: str
    internet: FakeInternet

    async def page(self, url: str, **arguments: object) -> dict[str, JsonValue]:
        async with connected(self.url) as client:
            return payload_of(await client.call_tool("fetch_page", {"url": url, **arguments}))

    async def item(self, url: str, **arguments: object) -> dict[str, JsonValue]:
        return only_item(await self.page(url, **arguments))

    async def failure(self, url: str, **arguments: object) -> tuple[str, str]:
        async with connected(self.url) as client:
            return failure_of(await client.call_tool("fetch_page", {"url": url, **arguments}))


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with running_internet() as internet:
        fetcher = PageFetcher(SystemClock(), internet=internet, limits=QUICK)
        async with serve_app(build_app(fetcher=fetcher)) as url:
            yield Web(url, internet)


def only_item(payload: dict[str, JsonValue]) -> dict[str, JsonValue]:
    items = payload["items"]
    assert isinstance(items, list)
    [item] = items
    assert isinstance(item, dict)
    return item
