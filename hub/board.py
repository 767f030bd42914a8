"""What is known right now of every integration: the monitor writes it, the routes read it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from hub.catalog import Catalog, Integration
from hub.errors import NotProbedError, UnknownIntegrationError
from hub.manifest import Manifest
from hub.probe import Now, utc_now
from hub.state import Standing
from hub.timeline import Bar, Timeline
from hub.views import digest_of, revision_of, status_of, view_of
from hub.wire import CatalogView, Health, IntegrationView, StatusView

GAP_FACTOR = 3
"""A silence of this many intervals means that the hub was not looking."""


@dataclass(frozen=True)
class Present:
    """One integration right now; ``manifest`` is None where it is invalid."""

    manifest: Manifest | None
    standing: Standing
    disabled: bool


class Board:
    """Standings and timelines by name. Used from the event loop alone; ``revision`` follows every change at once."""

    def __init__(
        self, catalog: Catalog, boot_id: str, *, disabled: frozenset[str], mcp_host: str, now: Now = utc_now
    ) -> None:
        self.boot_id = boot_id
        self._catalog = {integration.name: integration for integration in catalog}
        self._disabled = disabled
        self._mcp_host = mcp_host
        self._now = now
        self._standings = {name: Standing() for name in self._catalog}
        self._timelines = {name: Timeline(_max_gap_s(one.manifest)) for name, one in self._catalog.items()}
        self._changed = asyncio.Event()
        self._digests = {view.name: digest_of(view) for view in self.views()}
        self.revision = revision_of(self._digests.values())

    def probed(self) -> list[Manifest]:
        """The integrations to check: valid and enabled."""
        return [one.manifest for one in self._catalog.values() if one.manifest and one.name not in self._disabled]

    def probeable(self, name: str) -> Manifest:
        """The manifest of an integration that can be checked.

        Raises:
            UnknownIntegrationError, NotProbedError.
        """
        integration = self._get(name)
        if integration.manifest is None:
            raise NotProbedError(f"The manifest of {name!r} is invalid.", self.view(name).action)
        if name in self._disabled:
            raise NotProbedError(f"{name!r} is disabled.", self.view(name).action)
        return integration.manifest

    def standing(self, name: str) -> Standing:
        return self._standings[name]

    def present(self, name: str) -> Present | None:
        """One integration as the gateway needs it, None for an unknown name."""
        integration = self._catalog.get(name)
        if integration is None:
            return None
        return Present(integration.manifest, self._standings[name], name in self._disabled)

    def update(self, name: str, standing: Standing, at: datetime, ok: bool) -> None:
        """Note a check and its outcome; wakes the listeners when the revision changes."""
        self._standings[name] = standing
        self._timelines[name].add(at, ok, standing.health)
        self._refresh(name)

    def restore(self, name: str, standing: Standing, checks: Iterable[tuple[datetime, bool, Health]]) -> None:
        """Take over what an earlier run knew; a name without a folder now is ignored."""
        if name not in self._catalog:
            return
        self._standings[name] = standing
        for at, ok, health in checks:
            self._timelines[name].add(at, ok, health)
        self._refresh(name)

    def views(self) -> tuple[IntegrationView, ...]:
        """All integrations, sorted by name."""
        return tuple(self.view(name) for name in sorted(self._catalog))

    def view(self, name: str) -> IntegrationView:
        """One integration; raises UnknownIntegrationError."""
        integration = self._get(name)
        return view_of(
            integration,
            self._standings[name],
            disabled=name in self._disabled,
            mcp_host=self._mcp_host,
            uptime_24h=self._timelines[name].uptime(self._now()),
        )

    def catalog_view(self) -> CatalogView:
        return CatalogView(revision=self.revision, boot_id=self.boot_id, integrations=self.views())

    def status(self) -> StatusView:
        return status_of(self.revision, self.views())

    def bars(self, name: str) -> list[Bar]:
        """The last 24 hours of one integration, oldest first."""
        return self._timelines[name].bars(self._now())

    async def changed_since(self, revision: str) -> str:
        """Wait until the revision is another one, and return it."""
        while self.revision == revision:
            await self._changed.wait()
        return self.revision

    def _get(self, name: str) -> Integration:
        if name not in self._catalog:
            raise UnknownIntegrationError(name, sorted(self._catalog))
        return self._catalog[name]

    def _refresh(self, name: str) -> None:
        self._digests[name] = digest_of(self.view(name))
        revision = revision_of(self._digests.values())
        if revision == self.revision:
            return
        self.revision = revision
        self._changed.set()
        self._changed = asyncio.Event()


def _max_gap_s(manifest: Manifest | None) -> float:
    if manifest is None:
        return 0.0
    return GAP_FACTOR * manifest.probe.interval_s + manifest.probe.timeout_s
