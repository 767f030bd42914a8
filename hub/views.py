"""What the API shows of an integration: pure functions of catalog, standing and timeline."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TypeVar, get_args

from hub.actions import DISABLED, MEANWHILE, mend
from hub.catalog import Integration
from hub.probe import target_of
from hub.state import Standing
from hub.tools import combined_fingerprint, compare
from hub.wire import Health, IntegrationView, StatusEntry, StatusTool, StatusView

Shown = TypeVar("Shown", IntegrationView, StatusEntry)

HEALTHS: tuple[Health, ...] = get_args(Health)


def measured(shown: Shown, uptime_24h: float | None, latency: tuple[float, float] | None) -> Shown:
    """``shown`` with what moves with time alone; ``latency`` is p50 and p95 of the last hour."""
    p50, p95 = latency or (None, None)
    return shown.model_copy(update={"uptime_24h": uptime_24h, "latency_p50_ms": p50, "latency_p95_ms": p95})


def view_of(integration: Integration, standing: Standing, *, disabled: bool, mcp_host: str) -> IntegrationView:
    """One integration as ``GET /api/v1/integrations`` shows it, but for what :func:`measured` adds."""
    if integration.manifest is None:
        return _invalid_view(integration, disabled)
    manifest = integration.manifest
    return IntegrationView(
        name=manifest.name,
        title=manifest.title,
        description=manifest.description,
        admin_state="disabled" if disabled else "enabled",
        health=standing.health,
        reason="disabled" if disabled else standing.reason,
        detail="" if disabled else standing.detail or ("not checked yet" if standing.health == "starting" else ""),
        action=DISABLED.format(name=manifest.name) if disabled else _action(integration, standing),
        url=target_of(manifest, mcp_host).url,
        settings=manifest.settings,
        limits=manifest.limits,
        tools=compare(manifest, standing.tools, standing.approved),
        tool_fingerprint=combined_fingerprint(standing.tools or ()),
        protocol=standing.protocol,
        latency_ms=standing.latency_ms,
        last_ok_at=standing.last_ok_at,
        last_change_at=standing.last_change_at,
        tools_changed_at=standing.tools_changed_at,
        changed_tools=standing.changed_tools,
        faults=tuple(map(str, integration.faults)),
        pin=manifest.pinned,
    )


def _invalid_view(integration: Integration, disabled: bool) -> IntegrationView:
    return IntegrationView(
        name=integration.name,
        title=integration.title,
        admin_state="disabled" if disabled else "enabled",
        health="invalid",
        reason="invalid_manifest",
        detail="\n".join(map(str, integration.faults)),
        action=mend(integration.faults),
        faults=tuple(map(str, integration.faults)),
    )


def _action(integration: Integration, standing: Standing) -> str:
    """What to do about its health, then what to do about its manifest."""
    faulty = f"{mend(integration.faults)} {MEANWHILE}" if integration.faults else ""
    return " ".join(filter(None, (standing.action or _waiting(standing), faulty)))


def _waiting(standing: Standing) -> str:
    return "Wait a moment: the first check is under way." if standing.health == "starting" else ""


_MATTERS = {
    "name",
    "title",
    "description",
    "admin_state",
    "health",
    "reason",
    "url",
    "settings",
    "limits",
    "tools",
    "faults",
    "pin",
}


def digest_of(view: IntegrationView) -> str:
    """A hash of all that a reader has to react to: manifest, tools, state and reason, not the measurements."""
    return hashlib.sha256(view.model_dump_json(include=_MATTERS).encode()).hexdigest()


def revision_of(digests: Iterable[str]) -> str:
    """The catalog's revision, of the digests in the order of the names."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


def status_of(revision: str, entries: Iterable[StatusEntry]) -> StatusView:
    """The answer of ``GET /status``."""
    listed = tuple(entries)
    counts = dict.fromkeys((*HEALTHS, "disabled"), 0)
    for one in listed:
        counts["disabled" if one.admin_state == "disabled" else one.health] += 1
    return StatusView(revision=revision, counts=counts, integrations=listed)


def entry_of(view: IntegrationView) -> StatusEntry:
    """One integration as ``GET /status`` shows it."""
    return StatusEntry(
        name=view.name,
        title=view.title,
        admin_state=view.admin_state,
        health=view.health,
        reason=view.reason,
        detail=view.detail,
        action=view.action,
        faults=view.faults,
        latency_ms=view.latency_ms,
        latency_p50_ms=view.latency_p50_ms,
        latency_p95_ms=view.latency_p95_ms,
        tools=tuple(
            StatusTool(
                name=tool.name, risk=tool.risk, state=tool.state, fingerprint=tool.fingerprint, tokens=tool.tokens
            )
            for tool in view.tools
        ),
        tool_fingerprint=view.tool_fingerprint,
        pin=view.pin,
        tools_changed_at=view.tools_changed_at,
        changed_tools=view.changed_tools,
        protocol=view.protocol,
        last_ok_at=view.last_ok_at,
        last_change_at=view.last_change_at,
        uptime_24h=view.uptime_24h,
    )
