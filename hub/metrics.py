"""Prometheus metrics in a registry of their own; labels are integration names and closed lists."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from hub.board import Board
from hub.views import HEALTHS
from hub.wire import ProbeResult

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts checks as they happen, and reads the rest from the board when asked. Others add to ``registry``."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._counted: set[str] = set()
        self.registry = CollectorRegistry()
        self.registry.register(_BoardCollector(board))
        self._checks = Counter(
            "open_persona_hub_probes",
            "Health checks by outcome: ok or the reason of the failure.",
            ("integration", "outcome"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "open_persona_hub_probe_seconds",
            "Duration of health checks.",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self.registry,
        )
        self.by_integration = [self._checks]
        """Counters with the label ``integration``: they lose those that have gone."""

    def observe(self, result: ProbeResult) -> None:
        outcome = "ok" if result.ok else result.reason or "internal"
        self._counted.add(result.name)
        self._checks.labels(result.name, outcome).inc()
        self._seconds.observe(result.latency_ms / 1000)

    def render(self) -> bytes:
        """The text format of Prometheus, of the integrations that there are."""
        for name in self._counted - self._board.catalog.names:
            for counter in self.by_integration:
                counter.remove_by_labels({"integration": name})
        return generate_latest(self.registry)


class _BoardCollector(Collector):
    def __init__(self, board: Board) -> None:
        self._board = board

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        health = GaugeMetricFamily(
            "open_persona_hub_health", "1 for the present health of an integration.", labels=("integration", "health")
        )
        enabled = GaugeMetricFamily(
            "open_persona_hub_enabled", "0 where an admin has disabled the integration.", labels=("integration",)
        )
        latency = GaugeMetricFamily(
            "open_persona_hub_latency_seconds", "Duration of the last check.", labels=("integration",)
        )
        uptime = GaugeMetricFamily(
            "open_persona_hub_uptime_ratio", "Good share of the last 24 hours, 0 to 1.", labels=("integration",)
        )
        faults = GaugeMetricFamily(
            "open_persona_hub_manifest_faults", "Faults in the manifest as it is now.", labels=("integration",)
        )
        withheld = GaugeMetricFamily(
            "open_persona_hub_withheld_tools", "Tools that wait for an approval.", labels=("integration",)
        )
        for view in self._board.views():
            withheld.add_metric((view.name,), float(sum(tool.state == "withheld" for tool in view.tools)))
            faults.add_metric((view.name,), float(len(view.faults)))
            for state in HEALTHS:
                health.add_metric((view.name, state), float(view.health == state))
            enabled.add_metric((view.name,), float(view.admin_state == "enabled"))
            if view.latency_ms is not None:
                latency.add_metric((view.name,), view.latency_ms / 1000)
            if view.uptime_24h is not None:
                uptime.add_metric((view.name,), view.uptime_24h)
        return health, enabled, latency, uptime, faults, withheld
