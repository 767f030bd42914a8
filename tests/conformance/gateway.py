"""The fixture's tools behind the hub's gateway, with a lease that stays alive while a test runs."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import uuid
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import yaml
from pydantic import SecretStr

from hub.app import create_app, open_hub
from hub.settings import HubSettings
from hub.wire import Lease, LeaseGrant
from tests.conformance.fixture import NAME, tools_app, tools_server
from tests.fakes.asgi_server import serve_app

SERVICE_KEY = "service-key-for-tests"
RENEW_S = 5.0


@dataclass(frozen=True)
class Door:
    """One integration at the gateway, and the token of a runner that may call all of its ``tools``."""

    url: str
    token: str
    tools: tuple[str, ...]


@asynccontextmanager
async def behind_gateway(tmp: Path) -> AsyncIterator[Door]:
    """Serves the fixture's tools with our kit, the hub over them, and holds a lease for all of them."""
    tools = tuple(sorted(tool.name for tool in await tools_server().list_tools()))
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serve_app(tools_app()))
        root = write_manifest(tmp / "mcp_servers", url, tools)
        settings = HubSettings(mcp_servers_dir=root, home=tmp / "hub", service_key=SecretStr(SERVICE_KEY))
        hub = await stack.enter_async_context(open_hub(settings))
        hub_url = await stack.enter_async_context(serve_app(create_app(hub)))
        await hub.monitor.check_now(NAME)
        token = secrets.token_hex(16)
        await stack.enter_async_context(leased(hub_url, token, NAME, tools))
        yield Door(f"{hub_url}/mcp/{NAME}", token, tools)


def write_manifest(root: Path, url: str, tools: Collection[str]) -> Path:
    """The folder of integrations, with the fixture's at ``url``."""
    folder = root / NAME
    folder.mkdir(parents=True)
    manifest = {
        "manifest_version": 1,
        "name": NAME,
        "title": "Conformance",
        "description": "What the suite calls.",
        "transport": {"type": "python", "port": urlsplit(url).port},
        "tools": dict.fromkeys(tools, "read"),
        "limits": {"timeout_s": 20, "calls_per_minute": 6000},
    }
    (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest))
    (folder / "README.md").write_text("# Conformance\n")
    return root


@asynccontextmanager
async def leased(hub_url: str, token: str, integration: str, tools: Collection[str]) -> AsyncIterator[None]:
    """A turn's lease for the runner that bears ``token``, put again in time and deleted at the end."""
    lease = Lease(
        runner=hashlib.sha256(token.encode()).hexdigest(),
        user="conformance",
        persona="conformance",
        grants=(LeaseGrant(integration=integration, tools=tuple(tools)),),
    )
    url = f"{hub_url}/api/v1/leases/{uuid.uuid4().hex}"
    headers = {"authorization": f"Bearer {SERVICE_KEY}", "content-type": "application/json"}
    async with httpx.AsyncClient(trust_env=False, headers=headers) as client:

        async def put() -> None:
            (await client.put(url, content=lease.model_dump_json())).raise_for_status()

        async def renew() -> None:
            while True:
                await asyncio.sleep(RENEW_S)
                await put()

        await put()
        renewal = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)
            await client.delete(url)
