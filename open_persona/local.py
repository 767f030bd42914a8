"""The local stack from nothing: home, secrets, tools, services, and the hub's first look at the integrations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from hub.wire import CatalogView
from mcp_servers.launcher import scan
from open_persona.demo.reachability import grants_gov_answers
from open_persona.home import prepare_home
from open_persona.home_lock import locked
from open_persona.hub_api import HubApi
from open_persona.secrets import Secrets, make_secrets
from open_persona.services import UPSTREAM_SETTING, Service, plan
from open_persona.settings import StackSettings
from open_persona.sidecar_api import SidecarApi
from open_persona.stack import Say, Stack, check_ports
from open_persona.toolchain import ensure_all
from open_persona.webui.environment import WebuiStart
from open_persona.webui.installation import Installation
from open_persona.webui.package import SOURCE
from open_persona.webui.pins import environment_folder, program
from open_persona.webui.secret_key import DATA, webui_secret_key

HTTP_DEADLINE_S = 15.0


@dataclass(frozen=True)
class LocalStack:
    """A stack that answers. ``sample_records``: the demo's own records stand in for Grants.gov."""

    services: tuple[Service, ...]
    stack: Stack
    hub: HubApi
    sidecar: SidecarApi
    http: httpx.AsyncClient
    sample_records: bool

    async def catalog(self) -> CatalogView:
        """The integrations as the hub sees them, those that did not answer at first checked once more."""
        first = await self.hub.catalog()
        late = [
            view.name
            for view in first.integrations
            if view.admin_state == "enabled" and view.health in ("starting", "down")
        ]
        if not late:
            return first
        await asyncio.gather(*(self.hub.probe(name) for name in late))
        return await self.hub.catalog()


@asynccontextmanager
async def running(
    settings: StackSettings,
    environment: Mapping[str, str],
    say: Say,
    echo: Callable[[str, str], None] | None = None,
    *,
    webui: bool = False,
) -> AsyncIterator[LocalStack]:
    """Every service, ready; none of them is left afterwards. ``webui``: Open WebUI too, installed first if need be.

    Raises an ``OpenPersonaError`` that says what to do.
    """
    prepare_home(settings.home)
    with locked(settings.home):
        async with _started(settings, environment, say, echo, webui=webui) as local:
            yield local


@asynccontextmanager
async def _started(
    settings: StackSettings,
    environment: Mapping[str, str],
    say: Say,
    echo: Callable[[str, str], None] | None,
    *,
    webui: bool,
) -> AsyncIterator[LocalStack]:
    secrets = make_secrets(settings.home, environment)
    toolchain = ensure_all(settings.home, environment, say)
    found = scan(settings.mcp_servers_dir)
    for problem in found.problems.values():
        say(f"Left out: {problem}")
    async with httpx.AsyncClient(trust_env=False, timeout=HTTP_DEADLINE_S) as http:
        sample_records = await _needs_sample_records(settings, environment)
        start = _webui_start(settings, secrets, environment) if webui else None
        specs = list(found.specs.values())
        services = plan(settings, toolchain, specs, environment, upstream=sample_records, webui=start)
        if webui:
            check_ports(services)  # before some hundred megabytes are fetched
            await _install_webui(settings, environment, say)
        async with Stack(services, settings.home / "logs", say=say, echo=echo) as stack:
            await stack.ready()
            yield _local(settings, secrets, services, stack, http, sample_records=sample_records)


def _webui_start(settings: StackSettings, secrets: Secrets, environment: Mapping[str, str]) -> WebuiStart:
    return WebuiStart(
        program=program(environment_folder(settings.home)),
        secret_key=webui_secret_key(settings.home, environment),
        sidecar_api_key=secrets.sidecar_api_key,
    )


async def _install_webui(settings: StackSettings, environment: Mapping[str, str], say: Say) -> None:
    folder = environment_folder(settings.home)
    (settings.home / DATA).mkdir(mode=0o700, exist_ok=True)
    await Installation(folder, environment, say, settings.torch_index).prepare(SOURCE)


def _local(
    settings: StackSettings,
    secrets: Secrets,
    services: tuple[Service, ...],
    stack: Stack,
    http: httpx.AsyncClient,
    *,
    sample_records: bool,
) -> LocalStack:
    return LocalStack(
        services=services,
        stack=stack,
        hub=HubApi(settings.hub, http, secrets.service_key),
        sidecar=SidecarApi(settings.sidecar, http, secrets.sidecar_api_key),
        http=http,
        sample_records=sample_records,
    )


async def _needs_sample_records(settings: StackSettings, environment: Mapping[str, str]) -> bool:
    return settings.demo and not environment.get(UPSTREAM_SETTING) and not await grants_gov_answers()
