"""A whole deployment on loopback: a recording provider, real MCP servers, the hub, the sidecar and real opencode.

All but opencode run in the test's own event loop, each behind a real socket.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import yaml
from mcp.server import MCPServer
from mcp.types import ToolAnnotations
from pydantic import SecretStr

from hub.app import create_app as create_hub
from hub.app import open_hub
from hub.settings import HubSettings
from mcp_servers.kit.app import create_app as create_server
from open_persona.toolchain import OPENCODE, RIPGREP, ensure, tools_folder
from sidecar.app import create_app as create_sidecar
from sidecar.services import Services
from sidecar.settings import Settings
from tests.fakes.asgi_server import AsgiApp, serve_app
from tests.fakes.provider import FakeProvider, Script, running_provider

API_KEY = "sidecar-key-for-tests"
SERVICE_KEY = "service-key-for-tests"
TOKEN_KEY = "token-key-for-tests"
READ = ToolAnnotations(read_only_hint=True, destructive_hint=False)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Answer:
    """What a client received: the parsed ``data:`` lines in order, and what they add up to."""

    status: int
    events: list[dict[str, object]] = field(default_factory=list)
    done: int = 0
    body: dict[str, object] = field(default_factory=dict)
    comments: int = 0

    def add(self, line: str) -> None:
        if line == "data: [DONE]":
            self.done += 1
        elif line.startswith("data: "):
            self.events.append(json.loads(line[6:]))
        elif line.startswith(":"):
            self.comments += 1

    @property
    def choices(self) -> list[dict[str, object]]:
        return [choice for event in self.events for choice in _list(event.get("choices"))]

    @property
    def text(self) -> str:
        return "".join(_text(choice, "content") for choice in self.choices)

    @property
    def reasoning(self) -> str:
        return "".join(_text(choice, "reasoning_content") for choice in self.choices)

    @property
    def statuses(self) -> list[str]:
        found = []
        for event in self.events:
            inner = event.get("event")
            if isinstance(inner, dict):
                found.append(str(inner["data"]["description"]))
        return found

    @property
    def terminals(self) -> list[object]:
        return [choice["finish_reason"] for choice in self.choices if choice["finish_reason"]]

    @property
    def error(self) -> dict[str, object]:
        held = self.body.get("error") or next((event["error"] for event in self.events if "error" in event), None)
        return held if isinstance(held, dict) else {}

    @property
    def usage(self) -> dict[str, object]:
        found = next((event["usage"] for event in self.events if event.get("usage")), {})
        return found if isinstance(found, dict) else {}


def _list(value: object) -> list[dict[str, object]]:
    return value if isinstance(value, list) else []


def _text(choice: dict[str, object], key: str) -> str:
    delta = choice.get("delta")
    return str(delta.get(key) or "") if isinstance(delta, dict) else ""


def meta_header(meta: Mapping[str, object]) -> str:
    return base64.b64encode(json.dumps(meta).encode()).decode()


def switched_on(*names: str, **tools: Sequence[str]) -> dict[str, object]:
    """``meta.open_persona`` with these integrations on; a keyword narrows one to some tools."""
    on: dict[str, object] = {name: {"enabled": True} for name in names}
    on |= {name: {"enabled": True, "tools": list(chosen)} for name, chosen in tools.items()}
    return {"integrations": on}


@dataclass
class RunningServer:
    """The server of one integration: its port, and what ends it."""

    port: int
    stack: AsyncExitStack


class Caller:
    """Whoever sends turns to the sidecar at ``url``, which knows ``API_KEY``."""

    url: str
    client: httpx.AsyncClient

    def headers(self, user: str = "ann", **more: str) -> dict[str, str]:
        return {"authorization": f"Bearer {API_KEY}", "x-openwebui-user-id": user, **more}

    def turn(
        self,
        said: str | Sequence[Mapping[str, object]],
        *,
        user: str = "ann",
        model: str = "open-persona/izzy",
        picked: str = "",
        meta: Mapping[str, object] | None = None,
        chat: str = "",
        answer: str = "",
        parent: str = "",
        stream: bool = True,
        **more: str,
    ) -> dict[str, object]:
        """The arguments of the request for one turn, as httpx takes them."""
        messages = [{"role": "user", "content": said}] if isinstance(said, str) else list(said)
        headers = self.headers(user, **more)
        if chat:
            headers |= {"x-openwebui-chat-id": chat, "x-openwebui-message-id": answer or uuid.uuid4().hex}
            headers |= {"x-openwebui-user-message-id": uuid.uuid4().hex}
        headers |= {"x-openwebui-user-message-parent-id": parent} if parent else {}
        headers |= {"x-openpersona-original-model-id": picked} if picked else {}
        headers |= {"x-openpersona-meta-b64": meta_header(meta)} if meta is not None else {}
        body = {"model": model, "messages": messages, "stream": stream, "stream_options": {"include_usage": True}}
        return {"url": f"{self.url}/v1/chat/completions", "headers": headers, "json": body}

    async def chat(self, said: str | Sequence[Mapping[str, object]], **options: object) -> Answer:
        """One turn, read to its end."""
        request = self.turn(said, **options)  # type: ignore[arg-type]
        async with self.client.stream("POST", **request) as response:  # type: ignore[arg-type]
            answer = Answer(response.status_code)
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                async for line in response.aiter_lines():
                    answer.add(line)
            else:
                answer.body = json.loads(await response.aread() or b"{}")
        return answer


@dataclass
class Deployment(Caller):
    """A running deployment and a client for it."""

    url: str
    hub_url: str
    home: Path
    provider: FakeProvider
    client: httpx.AsyncClient
    services: Services
    servers: dict[str, RunningServer] = field(default_factory=dict)

    async def stop(self, name: str) -> None:
        """Ends the server of an integration."""
        await self.servers[name].stack.aclose()

    async def restart(self, name: str, app: AsgiApp) -> None:
        """Serves an integration anew, on the port that it had."""
        server = self.servers[name]
        await server.stack.aclose()
        await server.stack.enter_async_context(serve_app(app, port=server.port))

    async def idle(self) -> None:
        """Returns once every turn is through with its clean-up."""
        async with asyncio.timeout(30):
            while any(live.turns for live in self.services.turns.pool.live):
                await asyncio.sleep(0.01)


def make_server(name: str, tools: Mapping[str, str]) -> MCPServer[None]:
    """An MCP server whose tools (name to risk) answer with what they were asked."""
    server: MCPServer[None] = MCPServer(name)
    for tool in tools:
        server.add_tool(_only_words(name, tool), name=tool, description=f"The {tool} of {name}.", annotations=READ)
    return server


def _only_words(name: str, tool: str) -> Callable[[str], str]:
    def call(words: str = "") -> str:
        return f"{name}.{tool} found: {words}"

    return call


def write_manifest(root: Path, name: str, port: int, tools: Mapping[str, str], **more: object) -> None:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {
        "manifest_version": 1,
        "name": name,
        "title": name.title(),
        "description": f"The {name} of the tests.",
        "transport": {"type": "python", "port": port},
        "tools": dict(tools),
        "probe": {"interval_s": 0.5, "timeout_s": 2, "failures_before_down": 1},
        **more,
    }
    (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest))
    (folder / "README.md").write_text(f"# {name}\n")


def sidecar_settings(home: Path, provider_url: str, hub_url: str, port: int, **more: object) -> Settings:
    tools = tools_folder(home)
    values: dict[str, object] = {
        "home": home,
        "sidecar_port": port,
        "sidecar_api_key": SecretStr(API_KEY),
        "service_key": SecretStr(SERVICE_KEY),
        "token_key": SecretStr(TOKEN_KEY),
        "hub_url": hub_url,
        "providers": ("compatible",),
        "compatible_base_url": provider_url,
        "compatible_models": ("m1", "m2"),
        "default_compatible_api_key": SecretStr("provider-key-of-the-deployment"),
        "opencode_bin": str(ensure(OPENCODE, tools, {}, lambda _: None)),
        "ripgrep_bin": str(ensure(RIPGREP, tools, {}, lambda _: None)),
        **more,
    }
    return Settings(**values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Shipped:
    """An integration as it ships: its folder's manifest, moved to a free port, and its app."""

    app: AsgiApp
    folder: Path


Integrations = Mapping[str, Mapping[str, str] | Shipped]


async def serve_integration(
    stack: AsyncExitStack, root: Path, name: str, what: Mapping[str, str] | Shipped
) -> RunningServer:
    """Serves one integration until ``stack`` ends, with its folder under ``root``."""
    server = RunningServer(free_port(), await stack.enter_async_context(AsyncExitStack()))
    if isinstance(what, Shipped):
        manifest = yaml.safe_load((what.folder / "manifest.yaml").read_text())
        manifest["transport"]["port"] = server.port
        (root / name).mkdir()
        (root / name / "manifest.yaml").write_text(yaml.safe_dump(manifest))
        app: AsgiApp = what.app
    else:
        write_manifest(root, name, server.port, what)
        app = create_server(make_server(name, what), name=name)
    await server.stack.enter_async_context(serve_app(app, port=server.port))
    return server


@asynccontextmanager
async def running_hub(
    root: Path, home: Path, integrations: Integrations
) -> AsyncIterator[tuple[str, dict[str, RunningServer]]]:
    """The hub over real MCP servers; gives its URL once all of them were checked."""
    async with AsyncExitStack() as stack:
        servers = {name: await serve_integration(stack, root, name, what) for name, what in integrations.items()}
        settings = HubSettings(mcp_servers_dir=root, home=home, service_key=SecretStr(SERVICE_KEY))
        hub = await stack.enter_async_context(open_hub(settings))
        hub_url = await stack.enter_async_context(serve_app(create_hub(hub)))
        await probe_all(hub_url, integrations)
        yield hub_url, servers


async def probe_all(hub_url: str, names: Iterable[str]) -> None:
    """Checks each integration once, so that the hub knows its tools."""
    headers = {"authorization": f"Bearer {SERVICE_KEY}"}
    async with httpx.AsyncClient(timeout=20) as client:
        for name in names:
            answer = await client.post(f"{hub_url}/api/v1/integrations/{name}/probe", headers=headers)
            answer.raise_for_status()


@asynccontextmanager
async def running_sidecar(settings: Settings) -> AsyncIterator[Services]:
    """The sidecar, in this event loop, on the port of its settings."""
    app = create_sidecar(settings)
    async with serve_app(app, port=settings.sidecar_port, host=settings.sidecar_host):
        yield app.state.services


@asynccontextmanager
async def running_deployment(
    tmp: Path, *, integrations: Integrations | None = None, script: Script = "hello", **settings: object
) -> AsyncIterator[Deployment]:
    """Everything, on free ports; ``settings`` are the sidecar's."""
    home, root = tmp / "home", tmp / "mcp_servers"
    root.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(running_provider(script))
        hub_url, servers = await stack.enter_async_context(running_hub(root, tmp / "hub", integrations or {}))
        port = free_port()
        held = sidecar_settings(home, provider.url, str(settings.pop("hub_url", hub_url)), port, **settings)
        services = await stack.enter_async_context(running_sidecar(held))
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=60))
        yield Deployment(f"http://127.0.0.1:{port}", hub_url, home, provider, client, services, servers)
