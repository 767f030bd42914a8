"""The status page: the board as HTML, complete without a script and without a request to any other host."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from hub.board import Board
from hub.timeline import Bar
from hub.wire import CallEntry, Health, IntegrationView

LABELS: dict[str, str] = {
    "starting": "Starting",
    "healthy": "Healthy",
    "degraded": "Degraded",
    "down": "Down",
    "invalid": "Invalid manifest",
    "disabled": "Disabled",
}
TOOL_STATES: dict[str, str] = {
    "approved": "approved",
    "missing": "missing at the server",
    "unlisted": "not in the manifest",
    "withheld": "withheld: not approved",
}
TROUBLED = ("down", "invalid", "degraded")
MANY = 12
"""With more integrations than this, what is well about each is folded away."""

FEW_DIFFS = 3
"""So many differences are unfolded at once."""

_ORDER = ("down", "invalid", "degraded", "starting", "healthy", "disabled")

_templates = Environment(
    loader=PackageLoader("hub", "templates"),
    autoescape=select_autoescape(default=True, default_for_string=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def with_code(text: str) -> Markup:
    """``text`` escaped, with the parts between backticks as ``<code>``."""
    parts = (
        Markup("<code>{}</code>").format(part) if at % 2 else escape(part) for at, part in enumerate(text.split("`"))
    )
    return Markup("").join(parts)


_templates.filters["with_code"] = with_code


def render_page(board: Board, now: datetime, calls: Sequence[CallEntry] = ()) -> tuple[str, str]:
    """The page and the ``Content-Security-Policy`` to send with it; ``calls`` are the last ones, newest first."""
    nonce = secrets.token_urlsafe(16)
    views = sorted(board.details(), key=lambda view: (_ORDER.index(state_of(view)), view.title.lower()))
    html = _templates.get_template("status.html").render(
        nonce=nonce,
        revision=board.revision,
        now=now,
        views=views,
        calls=calls,
        many=len(views) > MANY,
        few_diffs=FEW_DIFFS,
        troubled=[view for view in views if state_of(view) in TROUBLED or is_outdated(view)],
        starting=[view for view in views if state_of(view) == "starting"],
        bars={view.name: board.bars(view.name) for view in views},
        labels=LABELS,
        state_of=state_of,
        ago=lambda time: ago(time, now),
        percent=percent,
        took=took,
        line_of=line_of,
        tool_states=TOOL_STATES,
        bar_label=lambda bar: bar_label(bar, now),
        is_outdated=is_outdated,
        overall=overall([state_of(view) for view in views], outdated=sum(map(is_outdated, views))),
    )
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy


def state_of(view: IntegrationView) -> str:
    """One word for the badge: the health, or ``disabled``."""
    return "disabled" if view.admin_state == "disabled" else view.health


def is_outdated(view: IntegrationView) -> bool:
    """Whether an old version serves because the manifest has faults, and nothing else is wrong."""
    return bool(view.faults) and state_of(view) in ("starting", "healthy")


def overall(states: list[str], outdated: int = 0) -> tuple[Health, str]:
    """The colour and the sentence at the top of the page; ``outdated`` of the good ones need attention too."""
    used = [state for state in states if state != "disabled"]
    bad = sum(state in TROUBLED for state in used) + outdated
    if not states:
        return "starting", "No integrations yet"
    if bad:
        worst: Health = "degraded" if all(state not in {"down", "invalid"} for state in used) else "down"
        return worst, f"{bad} of {len(used)} integrations need{'s' if bad == 1 else ''} attention"
    if "starting" in used:
        return "starting", "Checking the integrations for the first time"
    return "healthy", f"All {len(used)} integrations answer" if len(used) != 1 else "The one integration answers"


def ago(time: datetime | None, now: datetime) -> str:
    """A time in words, such as ``12 s ago``."""
    if time is None:
        return "never"
    seconds = max(0, int((now - time).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago" if seconds else "just now"


def percent(share: float | None) -> str:
    """A share as a percentage that says 100 only for all of it."""
    if share is None:
        return "–"
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    return f"{min(max(share * 100, 0.1), 99.9):.1f}%"


def took(ms: float | None) -> str:
    """A duration with its unit."""
    return "–" if ms is None else f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"


def line_of(diff_line: str) -> str:
    """What kind of line of a unified diff it is."""
    return {"+": "added", "-": "removed", "@": "place"}.get(diff_line[:1], "same")


def bar_label(bar: Bar, now: datetime) -> str:
    """What a bar says when pointed at."""
    start = bar.start.astimezone(UTC)
    day = "" if start.date() == now.astimezone(UTC).date() else "yesterday "
    said = "not observed" if bar.health is None else f"{LABELS[bar.health].lower()}, up {percent(bar.uptime)}"
    return f"{day}{start:%H:%M} UTC: {said}"
