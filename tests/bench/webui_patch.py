"""What the patch adds to a request in Open WebUI: the same chat call through a patched and an unpatched server.

Both are the real Open WebUI on databases of their own, in front of one fake provider; the unpatched one starts without
Python's ``site``, so that nothing of ours is loaded. The persona has an integration ticked, the user keys and settings
of their own. Calls are interleaved. Times in milliseconds; the last line is JSON.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.openwebui.installed import installed
from tests.e2e.openwebui.services import SIDECAR_KEY, Services
from tests.e2e.openwebui.stage import running_webui
from tests.e2e.openwebui.stock_webui import WebUI, stock_webui
from tests.e2e.process.deployment import free_port
from tests.fakes.provider import FakeProvider, running_provider

ROUNDS = 12
CALLS = 15
WARM_UP = 2
LIMITS = {"added_ms": 5.0}
BASES = ("open-persona/build", "open-persona/plan")
TOOL = "open_persona_integration_instrumentl"
PUBLIC = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]


def model(name: str, base: str | None, **meta: object) -> dict[str, Any]:
    return {"id": name, "name": name, "base_model_id": base, "access_grants": PUBLIC, "params": {}, "meta": meta}


@asynccontextmanager
async def patched(folder: Path, provider: FakeProvider, services: Services) -> AsyncIterator[WebUI]:
    environment = {**services.for_webui, "OPEN_PERSONA_SIDECAR_BASE_URLS": provider.url}
    async with running_webui(folder, environment) as webui:
        await asyncio.to_thread(webui.sign_up)
        webui.post("/api/v1/models/create", model("letters", "open-persona/build", toolIds=[TOOL]))
        webui.post("/api/v1/tools/id/open_persona_provider_defaults/valves/update", {"anthropic_api_key": "sk-a"})
        yield webui


@asynccontextmanager
async def unpatched(folder: Path, provider: FakeProvider) -> AsyncIterator[WebUI]:
    program = installed()
    [packages] = program.parent.parent.glob("lib/python3*/site-packages")
    command = (str(program.with_name("python")), "-S", "-c", "from open_webui import app; app()")
    environment = {"PYTHONPATH": str(packages), "OPENAI_API_BASE_URLS": provider.url, "OPENAI_API_KEYS": SIDECAR_KEY}
    with stock_webui(folder, free_port(), environment, start=False, program=command) as webui:
        await asyncio.to_thread(webui.start)
        await asyncio.to_thread(webui.sign_up)
        for made in (model("open-persona/build", None), model("letters", "open-persona/build")):
            webui.post("/api/v1/models/create", made)
        yield webui


def own_settings(webui: WebUI, client: httpx.Client) -> None:
    """Keys and settings of the user's own, which the patch has to read."""
    base = "/api/v1/tools/id"
    webui.post(f"{base}/open_persona_provider_keys/valves/user/update", {"openai_api_key": "sk-b"}, client)
    webui.post(f"{base}/{TOOL}/valves/user/update", {"api_key_id": "a", "api_private_key": "b"}, client)


async def timed(http: httpx.AsyncClient, url: str, token: str, times: list[float]) -> None:
    body = {"model": "letters", "stream": False, "messages": [{"role": "user", "content": "Hello"}]}
    for _ in range(CALLS):
        begun = time.perf_counter()
        answer = await http.post(f"{url}/api/chat/completions", json=body, headers={"authorization": token})
        times.append((time.perf_counter() - begun) * 1000)
        assert answer.status_code == 200, answer.text


async def measure() -> dict[str, float]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        provider = await stack.enter_async_context(running_provider("ok", models=BASES))
        services = Services(folder / "services")
        services.add_shipped("instrumentl")
        stack.push_async_callback(asyncio.to_thread, services.stop)
        for service in (services.integrations, services.hub):
            await asyncio.to_thread(service.start)
        ours = await stack.enter_async_context(patched(folder / "patched", provider, services))
        bare = await stack.enter_async_context(unpatched(folder / "unpatched", provider))
        people = {webui.url: webui.add_user("bob") for webui in (ours, bare)}
        own_settings(ours, people[ours.url])
        tokens = {url: str(client.headers["authorization"]) for url, client in people.items()}
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=30, trust_env=False))
        found: dict[str, list[float]] = {ours.url: [], bare.url: []}
        for number in range(-WARM_UP, ROUNDS):
            for webui in (bare, ours):
                await timed(http, webui.url, tokens[webui.url], found[webui.url] if number >= 0 else [])
        told = [request.headers for request in provider.requests[-2 * CALLS :]]
        assert sum("x-openpersona-integrations-b64" in headers for headers in told) == CALLS
    medians = {name: statistics.median(found[webui.url]) for name, webui in (("patched", ours), ("unpatched", bare))}
    row = {f"{name}_ms": value for name, value in medians.items()}
    return {
        key: round(value, 3) for key, value in {**row, "added_ms": medians["patched"] - medians["unpatched"]}.items()
    }


def main() -> int:
    found = asyncio.run(measure())
    for name, value in found.items():
        limit = f"  (at most {LIMITS[name]:g})" if name in LIMITS else ""
        print(f"{name:<14} {value:>8.3f}{limit}")
    failed = sorted(name for name, limit in LIMITS.items() if found[name] > limit)
    print(json.dumps({"bench": "webui_patch", **found, "limits": LIMITS, "failed": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
