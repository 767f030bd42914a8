"""The broker on a real socket, a fake provider behind it, and one running turn."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import get_args

import aiohttp
import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette

from sidecar.broker import Broker, provider_session
from sidecar.providers import PROVIDERS, ProviderName
from sidecar.settings import Settings
from sidecar.turns import RunningTurn, TurnRegistry
from tests.fakes.provider import FakeProvider, Script, running_provider

TOKEN = "runner-token-of-user-one"
KEY = "sk-canary-4f9d1c77aa03e5b2d8"
NAMES: tuple[ProviderName, ...] = get_args(ProviderName)
MODELS: Mapping[ProviderName, str] = {
    "openai": "gpt-5-mini",
    "anthropic": "claude-sonnet-4-5",
    "openrouter": "anthropic/claude-sonnet-4.5",
    "compatible": "m1",
    "demo": "demo",
}


def body_for(name: ProviderName, **extra: object) -> dict[str, object]:
    """A small streamed call as opencode makes it."""
    user = [{"role": "user", "content": "hi"}]
    told: dict[str, object] = {"model": MODELS[name], "stream": True}
    if PROVIDERS[name].dialect == "responses":
        told["input"] = user
    else:
        told |= {"messages": user, "max_tokens": 100}
    if PROVIDERS[name].dialect == "chat":
        told |= {"usage": {"include": True}} if name == "openrouter" else {"stream_options": {"include_usage": True}}
    return told | extra


def new_turn(token: str = TOKEN, key: str = KEY, turn_id: str = "t1") -> RunningTurn:
    return RunningTurn(
        turn_id=turn_id,
        user_hash="0123456789abcdef",
        persona_id="izzy",
        token=SecretStr(token),
        models=frozenset(f"{name}/{model}" for name, model in MODELS.items()),
        keys={name: SecretStr(key) for name in NAMES if name != "demo"},
    )


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> dict[str, dict[str, object]]:
        found = json.loads(self.text)
        assert isinstance(found, dict)
        return found


@dataclass
class Rig:
    provider: FakeProvider
    turns: TurnRegistry
    turn: RunningTurn
    settings: Settings
    url: str
    http: aiohttp.ClientSession

    def address(self, name: ProviderName) -> str:
        return f"{self.url}{PROVIDERS[name].broker_path}/{PROVIDERS[name].call}"

    def headers(self, name: ProviderName, token: str = TOKEN) -> dict[str, str]:
        row = PROVIDERS[name]
        return {"x-api-key": token} if row.key_header == "x-api-key" else {"authorization": f"Bearer {token}"}

    async def call(
        self,
        name: ProviderName = "compatible",
        body: object = None,
        *,
        token: str = TOKEN,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call to its end; a connection that is cut raises what aiohttp raises."""
        sent = {**self.headers(name, token), **(headers or {})}
        told = body_for(name) if body is None else body
        async with self.http.post(self.address(name), json=told, headers=sent) as response:
            return Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, await response.text())


def settings_for(url: str, **changed: object) -> Settings:
    values: dict[str, object] = {
        "demo": True,
        "compatible_models": ("m1",),
        **{f"{name}_base_url": url for name in NAMES},
        **changed,
    }
    return Settings.model_validate(values)


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    """The app on a free loopback port; its address."""
    # With the protocol named asyncio sets TCP_NODELAY, without it each answer waits 40 ms for an acknowledgement.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as bound:
        bound.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_config=None, lifespan="off")
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        # Without the main loop of ``serve``, whose ticks and signal handlers a test has no use for.
        await server.startup(sockets=[bound])
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            # uvicorn's own shutdown always sleeps 100 ms; the client's connections are closed by now.
            async with asyncio.timeout(5):
                while server.server_state.connections or server.server_state.tasks:
                    await asyncio.sleep(0.001)
            for listening in server.servers:
                listening.close()
                await listening.wait_closed()


@asynccontextmanager
async def running_broker(script: Script = "ok", **changed: object) -> AsyncIterator[Rig]:
    """Everything up, with one turn open; ``changed`` are settings."""
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(running_provider(script))
        settings = settings_for(provider.url, **changed)
        turns = TurnRegistry()
        outward = await stack.enter_async_context(provider_session())
        broker = Broker(settings, turns, outward)
        url = await stack.enter_async_context(serving(Starlette(routes=broker.routes())))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        turn = await stack.enter_async_context(turns.open(new_turn()))
        yield Rig(provider, turns, turn, settings, url, client)
