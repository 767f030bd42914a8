"""What is known right now of every integration: the monitor writes it, the routes read it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from hub.catalog import Catalog, Integration
from hub.errors import NotProbedError, UnknownIntegrationError
from hub.manifest import Manifest
from hub.probe import Now, utc_now
from hub.state import Standing, unproven
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


@dataclass
class _Entry:
    """One integration with everything that is known of it; ``digest`` is that of its view."""

    integration: Integration
    timeline: Timeline
    standing: Standing = field(default_factory=Standing)
    digest: str = ""


class Board:
    """Standings and timelines by name. Used from the event loop alone; ``revision`` follows every change at once."""

    def __init__(
        self, catalog: Catalog, boot_id: str, *, disabled: frozenset[str], mcp_host: str, now: Now = utc_now
    ) -> None:
        self.boot_id = boot_id
        self._disabled = disabled
        self._mcp_host = mcp_host
        self._now = now
        self._changed = asyncio.Event()
        self._entries: dict[str, _Entry] = {}
        self.revision = ""
        self.replace(catalog)

    def replace(self, catalog: Catalog) -> None:
        """Take the catalog as it is now: what is in it still keeps what is known of it, what is not is forgotten."""
        self.catalog = catalog
        before, self._entries = self._entries, {}
        for one in sorted(catalog, key=lambda one: one.name):
            entry = self._entries[one.name] = before.get(one.name) or _Entry(one, Timeline(0.0))
            if entry.digest and entry.integration == one:
                continue
            if entry.integration.manifest is None:  # nobody has looked since it was last good
                entry.standing = unproven(entry.standing)
            entry.integration, entry.timeline.max_gap_s = one, _max_gap_s(one.manifest)
            self._note(one.name)
        self._revise()

    def probed(self) -> list[Manifest]:
        """The integrations to check: valid and enabled."""
        valid = (one.manifest for one in self.catalog if one.name not in self._disabled)
        return [manifest for manifest in valid if manifest is not None]

    def probeable(self, name: str) -> Manifest:
        """The manifest of an integration that can be checked.

        Raises:
            UnknownIntegrationError, NotProbedError.
        """
        manifest = self._get(name).integration.manifest
        if manifest is None:
            raise NotProbedError(f"The manifest of {name!r} is invalid.", self.view(name).action)
        if name in self._disabled:
            raise NotProbedError(f"{name!r} is disabled.", self.view(name).action)
        return manifest

    def standing(self, name: str) -> Standing:
        return self._entries[name].standing

    def present(self, name: str) -> Present | None:
        """One integration as the gateway needs it, None for an unknown name."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        return Present(entry.integration.manifest, entry.standing, name in self._disabled)

    def update(self, name: str, standing: Standing, at: datetime, ok: bool) -> None:
        """Note a check and its outcome; wakes the listeners when the revision changes."""
        self.restore(name, standing, [(at, ok, standing.health)])

    def restore(self, name: str, standing: Standing, checks: Iterable[tuple[datetime, bool, Health]]) -> None:
        """Take over what was known before; a name without a folder now is ignored."""
        entry = self._entries.get(name)
        if entry is None:
            return
        entry.standing = standing
        for at, ok, health in checks:
            entry.timeline.add(at, ok, health)
        self._note(name)
        self._revise()

    def views(self) -> tuple[IntegrationView, ...]:
        """All integrations, sorted by name."""
        return tuple(self.view(name) for name in self._entries)

    def view(self, name: str) -> IntegrationView:
        """One integration; raises UnknownIntegrationError."""
        entry = self._get(name)
        return view_of(
            entry.integration,
            entry.standing,
            disabled=name in self._disabled,
            mcp_host=self._mcp_host,
            uptime_24h=entry.timeline.uptime(self._now()),
        )

    def catalog_view(self) -> CatalogView:
        return CatalogView(revision=self.revision, boot_id=self.boot_id, integrations=self.views())

    def status(self) -> StatusView:
        return status_of(self.revision, self.views())

    def bars(self, name: str) -> list[Bar]:
        """The last 24 hours of one integration, oldest first."""
        return self._entries[name].timeline.bars(self._now())

    async def changed_since(self, revision: str) -> str:
        """Wait until the revision is another one, and return it."""
        while self.revision == revision:
            await self._changed.wait()
        return self.revision

    def _get(self, name: str) -> _Entry:
        if name not in self._entries:
            raise UnknownIntegrationError(name, self._entries)
        return self._entries[name]

    def _note(self, name: str) -> None:
        self._entries[name].digest = digest_of(self.view(name))

    def _revise(self) -> None:
        revision = revision_of(entry.digest for entry in self._entries.values())
        if revision == self.revision:
            return
        self.revision = revision
        self._changed.set()
        self._changed = asyncio.Event()


def _max_gap_s(manifest: Manifest | None) -> float:
    if manifest is None:
        return 0.0
    return GAP_FACTOR * manifest.probe.interval_s + manifest.probe.timeout_s
