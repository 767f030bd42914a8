"""How one integration does, and how a check's result changes that: a pure state machine.

::

    starting ──ok──► healthy ◄──ok── degraded ──failures──► down
        │               └──failure──────▲                    │
        └──failures─────────────────────┼────────────────────┤
                                        └──ok, as often as successes_before_up (degraded if the tools differ)

A failure makes a healthy integration degraded until ``failures_before_down`` in a row make it down; a starting one
stays starting until then. Tools that differ from the manifest are degraded, and count as answering.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from hub.actions import action_for
from hub.manifest import Manifest, ProbeSettings
from hub.probe import Observation
from hub.tools import Tool, changed
from hub.wire import Health, ProbeResult, Reason

RETRY_CAP_S = 5.0
"""A failing integration is asked again after 1, 2, 4 and then every 5 s (or ``interval_s``, if that is less)."""


@dataclass(frozen=True)
class Standing:
    """Everything the hub knows of an integration's health. ``tools`` is None until it has answered once."""

    health: Health = "starting"
    reason: Reason | None = None
    detail: str = ""
    action: str = ""
    failures: int = 0
    successes: int = 0
    latency_ms: float | None = None
    protocol: str = ""
    tools: tuple[Tool, ...] | None = None
    last_ok_at: datetime | None = None
    last_change_at: datetime | None = None
    tools_changed_at: datetime | None = None
    changed_tools: tuple[str, ...] = ()

    @property
    def fingerprints(self) -> dict[str, str] | None:
        return None if self.tools is None else {tool.name: tool.fingerprint for tool in self.tools}


def step(before: Standing, seen: Observation, thresholds: ProbeSettings) -> Standing:
    """The standing after one check."""
    result = seen.result
    after = _after_ok(before, seen, thresholds) if result.ok else _after_failure(before, result, thresholds)
    if after.health != before.health:
        after = replace(after, last_change_at=result.at)
    return after


def with_change_noted(before: Standing, seen: Observation, manifest: Manifest) -> Observation:
    """``seen``, its reason ``tools_changed`` where a good check found other definitions than the last good one."""
    result = seen.result
    if not result.ok or before.fingerprints is None:
        return seen
    names = changed(before.fingerprints, result.tools)
    if not names or result.reason is not None:
        return seen
    detail = f"tool definitions changed: {', '.join(names[:8])}"
    noted = {"reason": "tools_changed", "detail": detail, "action": action_for("tools_changed", manifest)}
    return replace(seen, result=result.model_copy(update=noted))


def unproven(standing: Standing) -> Standing:
    """What was seen (tools, times) stays known; an old health is not taken for the present one."""
    return replace(standing, health="starting", reason=None, detail="", action="", failures=0)


def next_delay_s(standing: Standing, interval_s: float) -> float:
    """Seconds until the next check, without jitter: quicker while the integration fails or comes back."""
    if standing.health == "down" and standing.failures == 0:
        return min(interval_s, 1.0)
    if standing.failures == 0:
        return interval_s
    return float(min(interval_s, RETRY_CAP_S, 2.0 ** min(standing.failures - 1, 8)))


def _after_ok(before: Standing, seen: Observation, thresholds: ProbeSettings) -> Standing:
    result = seen.result
    names = changed(before.fingerprints, result.tools) if before.fingerprints is not None else ()
    after = replace(
        before,
        failures=0,
        successes=before.successes + 1,
        latency_ms=result.latency_ms,
        protocol=result.protocol,
        tools=seen.tools,
        last_ok_at=result.at,
        tools_changed_at=result.at if names else before.tools_changed_at,
        changed_tools=names or before.changed_tools,
    )
    if before.health == "down" and after.successes < thresholds.successes_before_up:
        left = thresholds.successes_before_up - after.successes
        return replace(after, action=f"It answers again: up after {left} more good check{'s' if left > 1 else ''}.")
    if result.reason == "tools_mismatch":
        return replace(after, health="degraded", reason=result.reason, detail=result.detail, action=result.action)
    return replace(after, health="healthy", reason=None, detail="", action="")


def _after_failure(before: Standing, result: ProbeResult, thresholds: ProbeSettings) -> Standing:
    failures = before.failures + 1
    health: Health = before.health
    if failures >= thresholds.failures_before_down:
        health = "down"
    elif before.health == "healthy":
        health = "degraded"
    return replace(
        before,
        health=health,
        reason=result.reason,
        detail=result.detail,
        action=result.action,
        failures=failures,
        successes=0,
        latency_ms=result.latency_ms,
    )
