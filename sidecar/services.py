"""What the sidecar holds while it runs: made in order at start, ended in reverse at stop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import aiohttp
from pydantic import SecretStr

from sidecar.broker import Broker, provider_session
from sidecar.chat import Turns
from sidecar.commands import Commands
from sidecar.home_lock import only_one
from sidecar.hub_client import HubClient
from sidecar.identity import Identity
from sidecar.locks import KeyedLocks
from sidecar.metrics import Metrics
from sidecar.providers import effective_keys
from sidecar.quota import Quota
from sidecar.registry import PersonaRegistry
from sidecar.runners.base import RunnerMode
from sidecar.runners.pool import RunnerPool
from sidecar.runners.process import ProcessMode
from sidecar.sessions import forget_strays
from sidecar.settings import ProviderName, Settings
from sidecar.start_checks import StartChecks
from sidecar.store import Store
from sidecar.templates import load_templates
from sidecar.turns import TurnRegistry
from sidecar.usage import UsageBook


@dataclass(frozen=True)
class Services:
    """Shared by the routes. ``http`` is the client for model providers."""

    settings: Settings
    turns: Turns
    broker: Broker
    http: aiohttp.ClientSession
    metrics: Metrics
    usage: UsageBook
    commands: Commands
    checks: StartChecks

    def effective_keys(self, identity: Identity) -> Mapping[ProviderName, SecretStr]:
        return effective_keys(identity.keys, self.settings)


@asynccontextmanager
async def run_services(settings: Settings) -> AsyncIterator[Services]:
    """Everything, running; runners that don't outlive the sidecar are stopped at the end. Raises ``SettingsError``."""
    templates = load_templates(
        settings.personas_dir, memory_templates=settings.memory_templates, runner_mode=settings.runner_mode
    )
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4)
    async with (
        only_one(settings.home),
        aiohttp.ClientSession(connector=connector) as http,
        provider_session() as providers,
    ):
        store = Store(settings.home / "sidecar.db")
        usage = UsageBook(store)
        hub = HubClient(settings.hub_url, settings.service_key, http)
        checks = StartChecks(settings.home, settings.min_free_gb)
        pool = RunnerPool(settings, _mode(settings, http), http, partial(forget_strays, store), checks)
        metrics = Metrics(settings, lambda: len(pool.live))
        running = TurnRegistry(usage.note, metrics.count)
        chats = KeyedLocks()
        turns = Turns(
            settings=settings,
            templates=templates,
            hub=hub,
            store=store,
            pool=pool,
            running=running,
            registry=PersonaRegistry(store, templates),
            door=lambda view: f"{settings.gateway}/mcp/{view.name}",
            chats=chats,
            quota=Quota(settings.workspace_quota_mb * 2**20, least_free=int(settings.min_free_gb * 2**30 / 2)),
        )
        commands = Commands(store, pool, templates, chats, settings.turn_timeout_s)
        hub.start()
        await pool.start()
        usage.start()
        try:
            broker = Broker(settings, running, providers)
            yield Services(settings, turns, broker, providers, metrics, usage, commands, checks)
        finally:
            await running.aclose()
            await hub.close()
            await pool.close()
            await usage.aclose()
            store.close()


def _mode(settings: Settings, http: aiohttp.ClientSession) -> RunnerMode:
    if settings.runner_mode == "docker":
        from sidecar.runners.docker import DockerMode  # its SDK is not needed otherwise

        return DockerMode(settings, http)
    return ProcessMode(settings, http)
