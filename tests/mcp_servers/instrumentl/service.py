"""The real Instrumentl server over HTTP, in front of the fake upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mcp import Client

from mcp_servers.instrumentl.client import ADVICE, TITLE
from mcp_servers.instrumentl.server import build_app
from mcp_servers.kit.upstream import Policy, Upstream
from tests.fakes.asgi_server import serve_app
from tests.fakes.instrumentl import ALICE, AccountData, FakeInstrumentl, running_fake
from tests.mcp_servers.mcp_session import connected

QUICK = Policy(
    rate_per_s=1000, burst=1000, deadline_s=3, attempt_timeout_s=1, attempts=2, backoff_base_s=0.01, backoff_max_s=0.02
)


@dataclass
class Service:
    url: str
    fake: FakeInstrumentl

    @asynccontextmanager
    async def as_user(self, key: tuple[str, str] | None = ALICE, *, mode: str = "auto") -> AsyncIterator[Client]:
        headers = {} if key is None else settings_headers(*key)
        async with connected(self.url, mode=mode, headers=headers) as client:
            yield client


def settings_headers(key_id: str, private_key: str) -> dict[str, str]:
    return {
        "x-open-persona-setting-api-key-id": key_id,
        "x-open-persona-setting-api-private-key": private_key,
    }


@asynccontextmanager
async def running_service(
    *, policy: Policy = QUICK, accounts: dict[tuple[str, str], AccountData] | None = None
) -> AsyncIterator[Service]:
    async with running_fake(accounts) as fake:
        upstream = Upstream(fake.url, title=TITLE, policy=policy, advice=ADVICE)
        async with serve_app(build_app(upstream)) as url:
            try:
                yield Service(url, fake)
            finally:
                fake.released.set()
