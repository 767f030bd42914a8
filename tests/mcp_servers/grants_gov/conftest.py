"""The real Grants.gov server over HTTP in front of a fake upstream, on a fixed day."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from mcp import Client

from mcp_servers.grants_gov.server import build_app
from mcp_servers.kit.upstream import Policy
from tests.fakes.asgi_server import serve_app
from tests.fakes.grants_gov import GrantsGovFake, running_fake

NOON = datetime(2026, 9, 24, 16, 0, tzinfo=UTC)


@dataclass
class FixedClock:
    """Always the recorded day; ages and waits pass only by ``sleep``, which takes no time."""

    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOON

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.seconds += seconds


@dataclass
class Answer:
    """One tool result; ``payload`` is its text read as JSON."""

    text: str
    structured: dict[str, Any] | None
    is_error: bool

    @property
    def payload(self) -> dict[str, Any]:
        assert not self.is_error, self.text
        read: dict[str, Any] = json.loads(self.text)
        assert read == self.structured
        return read

    @property
    def items(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.payload["items"]
        return found


@dataclass
class Grants:
    """The server under test as a client sees it, with its upstream and its clock."""

    client: Client
    fake: GrantsGovFake
    clock: FixedClock
    url: str

    async def call(self, tool: str, **arguments: Any) -> Answer:
        result = await self.client.call_tool(tool, arguments)
        (block,) = result.content
        assert block.type == "text"
        return Answer(block.text, result.structured_content, bool(result.is_error))

    async def search(self, **arguments: Any) -> Answer:
        return await self.call("search_opportunities", **arguments)

    async def get(self, **arguments: Any) -> Answer:
        return await self.call("get_opportunities", **arguments)

    async def read(self, attachment_id: int, **arguments: Any) -> Answer:
        return await self.call("read_attachment", attachment_id=attachment_id, **arguments)


@pytest.fixture
def grants(served: Grants) -> Grants:
    """The server as a test finds it: an obedient fake that was asked nothing yet, and a cache that has aged out."""
    served.fake.reset()
    served.clock.waits.clear()
    served.clock.seconds += 10 * 24 * 3600
    return served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[Grants]:
    """A client must be left in the task that entered it, and a fixture ends in another: it gets a task of its own."""
    ready: asyncio.Queue[Grants | None] = asyncio.Queue()
    stop = asyncio.Event()
    running = asyncio.create_task(_run(ready, stop))
    running.add_done_callback(lambda _: ready.put_nowait(None))
    grants = await ready.get()
    if grants is None:
        await running
    assert grants is not None
    try:
        yield grants
    finally:
        stop.set()
        await running


async def _run(ready: asyncio.Queue[Grants | None], stop: asyncio.Event) -> None:
    clock = FixedClock()
    policy = Policy(rate_per_s=1000, burst=1000, concurrency=4, deadline_s=22, attempt_timeout_s=5)
    files = replace(policy, attempts=2, max_response_bytes=2 * 1024 * 1024)
    async with (
        running_fake() as fake,
        serve_app(build_app(base_url=fake.url, policy=policy, file_policy=files, clock=clock)) as url,
        Client(f"{url}/mcp") as client,
    ):
        ready.put_nowait(Grants(client, fake, clock, url))
        await stop.wait()
