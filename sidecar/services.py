"""What the sidecar holds while it runs: made in order at start, ended in reverse at stop."""

from __future__ import annotations

import logging
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import aiohttp
from pydantic import SecretStr

from sidecar.broker import Broker, provider_session
from sidecar.chat import Turns
from sidecar.hub_client import HubClient
from sidecar.identity import Identity
from sidecar.locks import KeyedLocks
from sidecar.metrics import Metrics
from sidecar.providers import effective_keys
from sidecar.registry import PersonaRegistry
from sidecar.runners.base import Runner, RunnerFactory, RunnerSpec
from sidecar.runners.pool import RunnerPool
from sidecar.runners.process import ProcessRunner
from sidecar.sessions import forget_strays
from sidecar.settings import ProviderName, Settings, SettingsError
from sidecar.store import Store
from sidecar.templates import load_templates
from sidecar.turns import TurnRegistry
from sidecar.usage import UsageBook

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Services:
    """Shared by the routes. ``http`` is the client for model providers."""

    settings: Settings
    turns: Turns
    broker: Broker
    http: aiohttp.ClientSession
    metrics: Metrics
    usage: UsageBook

    def effective_keys(self, identity: Identity) -> Mapping[ProviderName, SecretStr]:
        return effective_keys(identity.keys, self.settings)


@asynccontextmanager
async def run_services(settings: Settings) -> AsyncIterator[Services]:
    """Everything, running; the runners are stopped at the end. Raises ``SettingsError``."""
    if settings.runner_mode != "process":
        raise SettingsError("OPEN_PERSONA_RUNNER_MODE: only 'process' can be used so far.")
    log.warning(
        "runner mode 'process' separates users by opencode's own rules only: "
        "it is for one person, or people who trust each other"
    )
    templates = load_templates(
        settings.personas_dir, memory_templates=settings.memory_templates, runner_mode=settings.runner_mode
    )
    store = Store(settings.home / "sidecar.db")
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4)
    async with aiohttp.ClientSession(connector=connector) as http, provider_session() as providers:
        usage = UsageBook(store)
        hub = HubClient(settings.hub_url, settings.service_key, http)
        pool = RunnerPool(settings, _process_factory(settings, http), http, partial(forget_strays, store))
        metrics = Metrics(settings, lambda: len(pool.live))
        running = TurnRegistry(usage.note, metrics.count)
        turns = Turns(
            settings=settings,
            templates=templates,
            hub=hub,
            store=store,
            pool=pool,
            running=running,
            registry=PersonaRegistry(store, templates),
            door=lambda view: f"{settings.gateway}/mcp/{view.name}",
            chats=KeyedLocks(),
        )
        hub.start()
        pool.start()
        usage.start()
        try:
            yield Services(settings, turns, Broker(settings, running, providers), providers, metrics, usage)
        finally:
            await running.aclose()
            await hub.close()
            await pool.close()
            await usage.aclose()
            store.close()


def _process_factory(settings: Settings, http: aiohttp.ClientSession) -> RunnerFactory:
    ripgrep = shutil.which(settings.ripgrep_bin) or settings.ripgrep_bin

    def make(spec: RunnerSpec) -> Runner:
        return ProcessRunner(
            spec,
            opencode=settings.opencode_bin,
            ripgrep=ripgrep,
            http=http,
            start_timeout_s=settings.runner_start_timeout_s,
        )

    return make
