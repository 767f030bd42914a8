"""What the hub's HTTP API says of the integrations: the models that the sidecar and the CLI read.

``GET /api/v1/integrations`` answers a :class:`CatalogView`, ``…/{name}`` one :class:`IntegrationDetail`,
``…/{name}/history`` a :class:`HistoryView`, ``POST …/{name}/probe`` a
:class:`ProbeResult`, ``POST …/{name}/approve`` an :class:`Approval`, ``GET /api/v1/calls`` a :class:`CallsView` and
``GET /status`` a :class:`StatusView`. Times are UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from hub.manifest import Limits, Risk, Setting
from hub.outcomes import Outcome, Refusal

Health = Literal["starting", "healthy", "degraded", "down", "invalid"]
AdminState = Literal["enabled", "disabled"]
Reason = Literal[
    "refused",
    "timeout",
    "http_error",
    "auth",
    "not_found",
    "host_rejected",
    "bad_protocol",
    "tools_mismatch",
    "tools_changed",
    "invalid_manifest",
    "too_large",
    "name_unresolved",
    "address_refused",
    "disabled",
    "internal",
]
"""Why an integration is not healthy: a closed list, so that it can be a metric label."""

ToolState = Literal["approved", "missing", "unlisted", "withheld"]
"""``approved``: stated by the manifest and listed by the server; ``missing``: only stated; ``unlisted``: only
listed; ``withheld``: stated and listed, but new or changed since the last approval of a pinned integration."""

DriftKind = Literal["new", "changed", "gone"]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True)


class ToolView(_Wire):
    """One tool of an integration; ``fingerprint`` is the SHA-256 of its definition as the server lists it."""

    name: str
    risk: Risk
    state: ToolState
    description: str = ""
    fingerprint: str = ""
    tokens: int = 0
    """What its definition costs a model's context, about; 0 where that is not known."""


class ToolDrift(_Wire):
    """How one tool differs between two lists. ``diff`` is a unified diff of readable lines, cut where it is long."""

    tool: str
    kind: DriftKind
    diff: str = ""


class IntegrationView(_Wire):
    """One integration: what its manifest states and how it does now.

    ``url`` is the server's own MCP endpoint, empty for an invalid manifest. ``reason`` and ``action`` are set
    whenever ``health`` is not ``healthy``. ``uptime_24h`` is a fraction of 1, null before the first probe.
    ``changed_tools`` are the tools whose definition, or presence, changed at ``tools_changed_at``. ``latency_ms`` is
    of the last check, the percentiles are of the good ones of the last hour. ``pin`` is whether new and changed tools
    wait for an approval. ``faults`` are
    those of its folder's manifest as it is now, each ``<file>:<line>: <reason>``: with any health but ``invalid`` the
    last good version serves, and the rest of the view is of that.
    """

    name: str
    title: str
    description: str = ""
    admin_state: AdminState
    health: Health
    reason: Reason | None = None
    detail: str = ""
    action: str = ""
    url: str = ""
    settings: tuple[Setting, ...] = ()
    limits: Limits = Limits()
    tools: tuple[ToolView, ...] = ()
    tool_fingerprint: str = ""
    protocol: str = ""
    latency_ms: float | None = None
    last_ok_at: datetime | None = None
    last_change_at: datetime | None = None
    uptime_24h: float | None = None
    tools_changed_at: datetime | None = None
    changed_tools: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    pin: bool = False
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None

    @property
    def answers(self) -> bool:
        """Whether a turn may use it now."""
        return self.admin_state == "enabled" and self.health in ("healthy", "degraded")


class IntegrationDetail(IntegrationView):
    """One integration with its differences: ``drift`` from the last approval to the tools as they are (of a pinned
    one), ``changes`` those of ``changed_tools``.
    """

    drift: tuple[ToolDrift, ...] = ()
    changes: tuple[ToolDrift, ...] = ()


class Approval(_Wire):
    """What an approval accepted: the whole list with this fingerprint, and how it differed from the one before."""

    name: str
    tool_fingerprint: str
    tools: tuple[ToolDrift, ...]


class CatalogView(_Wire):
    """All integrations, sorted by name. ``revision`` covers manifests, tools, states and reasons, not measurements."""

    revision: str
    boot_id: str
    integrations: tuple[IntegrationView, ...]


class ProbeResult(_Wire):
    """One health check, as stored by the monitor and as answered to "check now".

    ``stage`` is the last stage reached. ``tools`` maps each listed tool to its fingerprint.
    """

    name: str
    at: datetime
    ok: bool
    reason: Reason | None = None
    detail: str = ""
    action: str = ""
    stage: Literal["tcp", "healthz", "post", "handshake", "tools", "done"]
    latency_ms: float
    protocol: str = ""
    tools: dict[str, str] = {}


class HistoryEntry(_Wire):
    """One stored probe."""

    at: datetime
    ok: bool
    health: Health
    reason: Reason | None = None
    latency_ms: float


class ChangeEntry(_Wire):
    """A check that found other tools than the one before, or an approval."""

    at: datetime
    kind: Literal["changed", "approved"]
    tools: tuple[ToolDrift, ...]


class HistoryView(_Wire):
    """The stored probes of one integration, and the stored changes of its tools, newest first."""

    name: str
    entries: tuple[HistoryEntry, ...]
    changes: tuple[ChangeEntry, ...] = ()


class CallEntry(_Wire):
    """One call or refusal, as in the audit; ``ms`` is null for a refusal."""

    at: datetime
    user: str
    persona: str
    integration: str
    tool: str
    outcome: Outcome | Refusal
    ms: float | None


class CallsView(_Wire):
    """The last calls since the hub's start, newest first."""

    calls: tuple[CallEntry, ...]


class StatusTool(_Wire):
    """One tool in ``GET /status``."""

    name: str
    risk: Risk
    state: ToolState
    fingerprint: str
    tokens: int


class StatusEntry(_Wire):
    """One integration in ``GET /status``."""

    name: str
    title: str
    admin_state: AdminState
    health: Health
    reason: Reason | None
    detail: str
    action: str
    faults: tuple[str, ...]
    latency_ms: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    tools: tuple[StatusTool, ...]
    tool_fingerprint: str
    pin: bool
    tools_changed_at: datetime | None
    changed_tools: tuple[str, ...]
    protocol: str
    last_ok_at: datetime | None
    last_change_at: datetime | None
    uptime_24h: float | None


class StatusView(_Wire):
    """``GET /status``. ``counts`` has every health and ``disabled``; a disabled integration counts there alone."""

    revision: str
    counts: dict[str, int]
    integrations: tuple[StatusEntry, ...]


class LeaseGrant(_Wire):
    """One integration that a turn may reach: the tools that may be called, and this user's settings for it."""

    integration: str
    tools: tuple[str, ...]
    settings: dict[str, SecretStr] = {}


class Lease(_Wire):
    """What one turn may reach through the gateway, put in full at every renewal.

    ``runner`` is the SHA-256 (hex) of the runner's token: the token itself goes from the runner alone. ``user`` is the
    user's hash and ``persona`` the persona's id, for the audit line. ``address`` is the only one from which the token
    is taken; empty: any.
    """

    runner: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    user: Annotated[str, Field(max_length=64)]
    persona: Annotated[str, Field(max_length=100)]
    address: Annotated[str, Field(max_length=45)] = ""
    grants: tuple[LeaseGrant, ...] = ()


class LeaseAnswer(_Wire):
    """A lease as it stands: seconds until it expires by itself, and the hub's boot id."""

    expires_in_s: float
    boot_id: str
