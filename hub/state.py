"""How one integration does, and how a check's result changes that: a pure state machine.

::

    starting ──ok──► healthy ◄──ok── degraded ──failures──► down
        │               └──failure──────▲                    │
        └──failures─────────────────────┼────────────────────┤
                                        └──ok, as often as successes_before_up (degraded if the tools differ)

A failure makes a healthy integration degraded until ``failures_before_down`` in a row make it down; a starting one
stays starting until then. Tools that differ from the manifest, or wait for an approval, make it degraded, and it
counts as answering.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from hub.actions import action_for
from hub.drift import drift
from hub.manifest import Manifest
from hub.probe import Observation
from hub.tools import Tool, changed, compare, mismatch
from hub.wire import Health, ProbeResult, Reason, ToolDrift

RETRY_CAP_S = 5.0
"""A failing integration is asked again after 1, 2, 4 and then every 5 s (or ``interval_s``, if that is less)."""


@dataclass(frozen=True)
class Standing:
    """Everything the hub knows of an integration's health. ``tools`` is None until it has answered once.

    ``approved`` are the tools as they were last accepted: by an approval where the integration is pinned, else by being
    listed. ``change`` is how the tools changed at ``tools_changed_at``.
    """

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
    approved: tuple[Tool, ...] | None = None
    change: tuple[ToolDrift, ...] = ()

    @property
    def fingerprints(self) -> dict[str, str] | None:
        return None if self.tools is None else {tool.name: tool.fingerprint for tool in self.tools}

    def changed_at(self, at: datetime) -> Standing:
        """The same, its health another one since ``at``."""
        return replace(self, last_change_at=at)


def step(before: Standing, seen: Observation, manifest: Manifest) -> Standing:
    """The standing after one check."""
    result = seen.result
    after = _after_ok(before, seen, manifest) if result.ok else _after_failure(before, result, manifest)
    if after.health != before.health:
        after = after.changed_at(result.at)
    return after


def with_change_noted(before: Standing, seen: Observation, manifest: Manifest) -> Observation:
    """``seen``, its reason ``tools_changed`` where a good check found tools that wait for an approval, or other
    definitions than the last good one."""
    result = seen.result
    if not result.ok:
        return seen
    reason, detail = _odd(manifest, seen.tools, _accepted(before, seen.tools, manifest))
    if reason is None and before.fingerprints is not None:
        names = changed(before.fingerprints, result.tools)
        reason, detail = ("tools_changed", f"tool definitions changed: {', '.join(names[:8])}") if names else (None, "")
    if reason is None:
        return seen
    noted = {"reason": reason, "detail": detail, "action": action_for(reason, manifest)}
    return replace(seen, result=result.model_copy(update=noted))


def approved_as(standing: Standing, tools: tuple[Tool, ...], manifest: Manifest) -> Standing:
    """The standing once ``tools`` are accepted; one that answers is judged anew."""
    after = replace(standing, approved=tools)
    if standing.failures or standing.health not in ("healthy", "degraded"):
        return after
    return _settled(after, manifest)


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


def _after_ok(before: Standing, seen: Observation, manifest: Manifest) -> Standing:
    result, thresholds = seen.result, manifest.probe
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
        approved=_accepted(before, seen.tools, manifest),
        change=drift(before.tools or (), seen.tools) if names else before.change,
    )
    if before.health == "down" and after.successes < thresholds.successes_before_up:
        left = thresholds.successes_before_up - after.successes
        return replace(after, action=f"It answers again: up after {left} more good check{'s' if left > 1 else ''}.")
    return _settled(after, manifest)


def _accepted(before: Standing, now: tuple[Tool, ...], manifest: Manifest) -> tuple[Tool, ...]:
    """The tools that need no approval: of a pinned one those of the last approval, else of the first list ever seen."""
    if not manifest.pinned:
        return now
    if before.approved is not None:
        return before.approved
    return now if before.tools is None else before.tools


def _settled(standing: Standing, manifest: Manifest) -> Standing:
    """One that answers: healthy where its tools are as they should be."""
    reason, detail = _odd(manifest, standing.tools or (), standing.approved)
    if reason is None:
        return replace(standing, health="healthy", reason=None, detail="", action="")
    action = action_for(reason, manifest)
    return replace(standing, health="degraded", reason=reason, detail=detail, action=action)


def _odd(manifest: Manifest, tools: tuple[Tool, ...], approved: tuple[Tool, ...] | None) -> tuple[Reason | None, str]:
    """What is not as it should be about the tools, as a reason and in words."""
    views = compare(manifest, tools, approved)
    if not (words := mismatch(views)):
        return None, ""
    return "tools_changed" if any(view.state == "withheld" for view in views) else "tools_mismatch", words


def _after_failure(before: Standing, result: ProbeResult, manifest: Manifest) -> Standing:
    failures = before.failures + 1
    health: Health = before.health
    if failures >= manifest.probe.failures_before_down:
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
