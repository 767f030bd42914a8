"""The services of the local stack as data: what to run, with which environment, where it listens, when it is ready."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from open_persona.settings import StackSettings
from open_persona.toolchain import Toolchain
from open_persona.webui.environment import WebuiStart, webui_environment

if TYPE_CHECKING:  # the launcher needs half a second to be imported
    from mcp_servers.launcher import Spec

ROOT = Path(__file__).resolve().parent.parent
UPSTREAM_SETTING = "OPEN_PERSONA_GRANTS_GOV_BASE_URL"
PROVIDER_KEY = re.compile(r"^OPEN_PERSONA_DEFAULT_[A-Z]+_API_KEY$")
"""Only the sidecar and Open WebUI get to see these."""
READY_S = 60.0
WEBUI_READY_S = 240.0
"""Open WebUI takes 40 to 50 s on two cores, and its first start migrates a database."""


@dataclass(frozen=True)
class Listener:
    """One port of a service: ``ready`` is the URL that answers 200 once it serves, within ``ready_s`` seconds, and
    ``setting`` what moves the port."""

    name: str
    host: str
    port: int
    url: str
    ready: str
    setting: str
    ready_s: float = READY_S


@dataclass(frozen=True)
class Service:
    """One child process of the stack."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    listeners: tuple[Listener, ...]


def plan(
    settings: StackSettings,
    toolchain: Toolchain,
    integrations: Sequence[Spec],
    environment: Mapping[str, str],
    *,
    upstream: bool = False,
    webui: WebuiStart | None = None,
) -> tuple[Service, ...]:
    """Every service to run. ``upstream``: the demo's own records stand in for Grants.gov; ``webui``: with Open WebUI.
    Pure."""
    shared = _shared(settings, environment)
    services = [
        _integrations(settings, integrations, shared, upstream=upstream),
        _hub(settings, shared),
        _sidecar(settings, toolchain, shared, environment),
    ]
    if settings.demo:
        services.insert(0, _demo_model(settings, shared))
    if upstream:
        services.insert(0, _demo_upstream(settings, shared))
    if webui is not None:
        services.append(_open_webui(settings, webui, environment))
    return tuple(services)


def _shared(settings: StackSettings, environment: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in environment.items() if not PROVIDER_KEY.match(name)}
    path = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH", "")]))
    return {
        **kept,
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        "OPEN_PERSONA_HOME": str(settings.home),
        "OPEN_PERSONA_MCP_SERVERS_DIR": str(settings.mcp_servers_dir),
    }


def _provider_keys(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if PROVIDER_KEY.match(name)}


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    # -P: a module in the working directory must not stand in for one of ours.
    return (sys.executable, "-P", "-m", module, *arguments)


def _integrations(
    settings: StackSettings, specs: Sequence[Spec], shared: Mapping[str, str], *, upstream: bool
) -> Service:
    extra = {UPSTREAM_SETTING: f"{settings.demo_upstream}/v1/api"} if upstream else {}
    listeners = tuple(
        _listener(spec.name, ("127.0.0.1", spec.port), "/healthz", f"transport.port in {spec.folder / 'manifest.yaml'}")
        for spec in specs
    )
    command = _python("mcp_servers", "--root", str(settings.mcp_servers_dir))
    return Service("integrations", command, {**shared, **extra}, listeners)


def _hub(settings: StackSettings, shared: Mapping[str, str]) -> Service:
    own = {"OPEN_PERSONA_HUB_HOST": settings.hub_host, "OPEN_PERSONA_HUB_PORT": str(settings.hub_port)}
    listener = _listener(
        "hub", (settings.hub_host, settings.hub_port), "/readyz", "OPEN_PERSONA_HUB_PORT", settings.hub
    )
    return Service("hub", _python("hub"), {**shared, **own}, (listener,))


def _sidecar(
    settings: StackSettings, toolchain: Toolchain, shared: Mapping[str, str], environment: Mapping[str, str]
) -> Service:
    keys = _provider_keys(environment)
    own = {
        "OPEN_PERSONA_SIDECAR_HOST": settings.sidecar_host,
        "OPEN_PERSONA_SIDECAR_PORT": str(settings.sidecar_port),
        "OPEN_PERSONA_HUB_URL": settings.hub,
        **toolchain.environment(),
    }
    if settings.demo:
        own |= {"OPEN_PERSONA_DEMO": "1", "OPEN_PERSONA_DEMO_BASE_URL": f"{settings.demo_model}/v1"}
    listener = _listener(
        "sidecar",
        (settings.sidecar_host, settings.sidecar_port),
        "/healthz",
        "OPEN_PERSONA_SIDECAR_PORT",
        settings.sidecar,
    )
    return Service("sidecar", _python("sidecar"), {**shared, **keys, **own}, (listener,))


def _open_webui(settings: StackSettings, start: WebuiStart, environment: Mapping[str, str]) -> Service:
    host, port = settings.webui_host, settings.webui_port
    url = settings.webui_here
    listener = Listener("Open WebUI", host, port, url, f"{url}/health", "OPEN_PERSONA_WEBUI_PORT", WEBUI_READY_S)
    command = (str(start.program), "serve", "--host", host, "--port", str(port))
    own = webui_environment(settings, start, environment, _provider_keys(environment))
    return Service("Open WebUI", command, own, (listener,))


def _demo_model(settings: StackSettings, shared: Mapping[str, str]) -> Service:
    listener = _listener("demo model", ("127.0.0.1", settings.demo_port), "/healthz", "OPEN_PERSONA_DEMO_PORT")
    return Service(
        "demo model", _python("open_persona.demo.model", "--port", str(settings.demo_port)), shared, (listener,)
    )


def _demo_upstream(settings: StackSettings, shared: Mapping[str, str]) -> Service:
    port = settings.demo_upstream_port
    listener = _listener("demo upstream", ("127.0.0.1", port), "/healthz", "OPEN_PERSONA_DEMO_UPSTREAM_PORT")
    return Service("demo upstream", _python("open_persona.demo.upstream", "--port", str(port)), shared, (listener,))


def _listener(name: str, at: tuple[str, int], path: str, setting: str, url: str = "") -> Listener:
    host, port = at
    url = url or f"http://{host}:{port}"
    return Listener(name, host, port, url, f"{url}{path}", setting)
