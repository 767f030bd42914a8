"""What is known right now of every integration: the monitor writes it, the routes read it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from hub.catalog import Catalog, Integration
from hub.drift import MAX_SHOWN_LINES, drift
from hub.errors import NotProbedError, UnknownIntegrationError
from hub.history import Check
from hub.latency import Latencies
from hub.manifest import Manifest
from hub.probe import Now, utc_now
from hub.state import Standing, unproven
from hub.timeline import Bar, Timeline
from hub.views import digest_of, entry_of, measured, revision_of, status_of, view_of
from hub.wire import (
    CatalogView,
    IntegrationDetail,
    IntegrationView,
    ProbeResult,
    StatusEntry,
    StatusView,
    ToolDrift,
)

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
    """One integration with everything that is known of it.

    ``view`` and ``status`` are made when something changes, not when somebody asks; ``digest`` is that of the view.
    """

    integration: Integration
    timeline: Timeline
    latencies: Latencies = field(default_factory=Latencies)
    standing: Standing = field(default_factory=Standing)
    view: IntegrationView | None = None
    status: StatusEntry | None = None
    digest: str = ""
    drift: tuple[Standing, tuple[ToolDrift, ...]] | None = None

    def pending(self) -> tuple[ToolDrift, ...]:
        """How the tools differ from what was approved; worked out once for each standing."""
        if self.drift is None or self.drift[0] is not self.standing:
            approved, tools = self.standing.approved, self.standing.tools or ()
            self.drift = self.standing, () if approved is None else drift(approved, tools, MAX_SHOWN_LINES)
        return self.drift[1]

    def note(self, view: IntegrationView) -> None:
        self.view, self.status, self.digest = view, entry_of(view), digest_of(view)

    def measurements(self, now: datetime) -> tuple[float | None, tuple[float, float] | None]:
        return self.timeline.uptime(now), self.latencies.percentiles(now)


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

    def update(self, standing: Standing, result: ProbeResult) -> None:
        """Note a check and its outcome; wakes the listeners when the revision changes."""
        self.restore(result.name, standing, [(result.at, result.ok, standing.health, result.latency_ms)])

    def settle(self, name: str, standing: Standing) -> None:
        """Note another standing without a check."""
        self.restore(name, standing, ())

    def restore(self, name: str, standing: Standing, checks: Iterable[Check]) -> None:
        """Take over what was known before; a name without a folder now is ignored."""
        entry = self._entries.get(name)
        if entry is None:
            return
        entry.standing = standing
        for at, ok, health, latency_ms in checks:
            entry.timeline.add(at, ok, health)
            if ok:
                entry.latencies.add(at, latency_ms)
        self._note(name)
        self._revise()

    def views(self) -> tuple[IntegrationView, ...]:
        """All integrations, sorted by name."""
        return tuple(self.view(name) for name in self._entries)

    def view(self, name: str) -> IntegrationView:
        """One integration; raises UnknownIntegrationError."""
        entry = self._get(name)
        assert entry.view is not None
        return measured(entry.view, *entry.measurements(self._now()))

    def detail(self, name: str) -> IntegrationDetail:
        """One integration with how its tools differ; raises UnknownIntegrationError."""
        view, entry = self.view(name), self._entries[name]
        pending = entry.pending() if view.pin else ()
        return IntegrationDetail.model_construct(**dict(view), drift=pending, changes=entry.standing.change)

    def details(self) -> tuple[IntegrationDetail, ...]:
        """All integrations with how their tools differ, sorted by name."""
        return tuple(self.detail(name) for name in self._entries)

    def catalog_view(self) -> CatalogView:
        return CatalogView(revision=self.revision, boot_id=self.boot_id, integrations=self.views())

    def status(self) -> StatusView:
        now = self._now()
        noted = ((entry, entry.status) for entry in self._entries.values())
        return status_of(
            self.revision, (measured(status, *entry.measurements(now)) for entry, status in noted if status)
        )

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
        entry = self._entries[name]
        disabled = name in self._disabled
        entry.note(view_of(entry.integration, entry.standing, disabled=disabled, mcp_host=self._mcp_host))

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
