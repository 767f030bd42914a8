"""Tools as a server lists them: fingerprints, and how they compare with the manifest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hub.errors import ProbeError
from hub.manifest import TOOL_PATTERN, Manifest, PythonTransport, Risk
from hub.text import clean
from hub.tokens import context_tokens
from hub.validate import OPENCODE_NAMES
from hub.wire import ToolState, ToolView

MAX_NAME = 128
"""MCP's own limit for a tool's name (specification 2025-11-25, server/tools)."""

MAX_DESCRIPTION = 1000
_SEEN_BY_A_MODEL = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")


@dataclass(frozen=True)
class Tool:
    """One tool as listed. ``definition`` is the server's own JSON; empty when only the fingerprint is remembered."""

    name: str
    fingerprint: str
    description: str = ""
    definition: Mapping[str, object] = field(default_factory=dict, repr=False)
    tokens: int = 0


def seen_by_a_model(definition: Mapping[str, object]) -> dict[str, object]:
    """Of a tool's definition what reaches a model; a null counts as absent."""
    return {key: definition[key] for key in _SEEN_BY_A_MODEL if definition.get(key) is not None}


def fingerprint(definition: Mapping[str, object]) -> str:
    """SHA-256 (hex) of what a model can see of a tool, as canonical JSON: sorted keys, absent equals null."""
    seen = json.dumps(seen_by_a_model(definition), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(seen.encode()).hexdigest()


def combined_fingerprint(tools: Iterable[Tool]) -> str:
    """One fingerprint for a whole list, whatever its order; empty for an empty list."""
    lines = sorted(f"{tool.name}\0{tool.fingerprint}\n" for tool in tools)
    return hashlib.sha256("".join(lines).encode()).hexdigest() if lines else ""


def read_tool(raw: object) -> Tool:
    """Check one entry of ``tools/list``.

    Raises:
        ProbeError: ``bad_protocol``: not an object, no usable name, control characters in the name, no input schema.
    """
    if not isinstance(raw, dict):
        raise ProbeError("bad_protocol", "tools/list has an entry that is not an object")
    name = raw.get("name")
    if not isinstance(name, str) or not name:
        raise ProbeError("bad_protocol", "tools/list has a tool without a name")
    if len(name) > MAX_NAME or not name.isprintable():
        shown = clean(name, 40)
        raise ProbeError("bad_protocol", f"tool name {shown!r} is too long or has control characters")
    if not isinstance(raw.get("inputSchema"), dict):
        raise ProbeError("bad_protocol", f"tool {name!r} has no inputSchema")
    description = raw.get("description")
    text = clean(description, MAX_DESCRIPTION) if isinstance(description, str) else ""
    try:
        return Tool(name, fingerprint(raw), text, raw, context_tokens(raw))
    except RecursionError:
        raise ProbeError("bad_protocol", f"tool {name!r} is nested too deeply") from None


def stated_risks(manifest: Manifest, listed: Sequence[Tool]) -> Mapping[str, Risk]:
    """The manifest's tools. A server of somebody else's whose manifest states none offers all it lists, as write."""
    if manifest.tools or isinstance(manifest.transport, PythonTransport):
        return manifest.tools
    usable = (tool.name for tool in listed if re.match(TOOL_PATTERN, tool.name))
    return {name: "write" for name in usable if f"{manifest.name}_{name}" not in OPENCODE_NAMES}


def compare(
    manifest: Manifest, listed: Sequence[Tool] | None, approved: Sequence[Tool] | None = None
) -> tuple[ToolView, ...]:
    """Every tool, stated or listed, sorted by name. Before the first list (None) the stated ones count as missing.

    Of a pinned integration, tools that are not in ``approved`` as they are listed are withheld; None approves all.
    """
    by_name = {tool.name: tool for tool in listed or ()}
    risks = stated_risks(manifest, listed or ())
    held = withheld_names(manifest, listed or (), approved)
    views = []
    for name in sorted(by_name.keys() | risks.keys()):
        tool = by_name.get(name)
        state: ToolState = "approved" if tool else "missing"
        if name not in risks:
            state = "unlisted"
        elif name in held:
            state = "withheld"
        views.append(
            ToolView(
                name=name,
                risk=risks.get(name, "write"),
                state=state,
                description=tool.description if tool else "",
                fingerprint=tool.fingerprint if tool else "",
                tokens=tool.tokens if tool else 0,
            )
        )
    return tuple(views)


def withheld_names(manifest: Manifest, listed: Sequence[Tool], approved: Sequence[Tool] | None) -> frozenset[str]:
    """The listed tools that wait for an approval."""
    if not manifest.pinned or approved is None:
        return frozenset()
    known = {tool.name: tool.fingerprint for tool in approved}
    return frozenset(tool.name for tool in listed if known.get(tool.name) != tool.fingerprint)


def mismatch(views: Iterable[ToolView]) -> str:
    """What differs between manifest, approval and server, in words; empty when nothing does."""
    by_state: dict[ToolState, list[str]] = {}
    for view in views:
        by_state.setdefault(view.state, []).append(view.name)
    parts = []
    if withheld := by_state.get("withheld"):
        parts.append(f"new or changed, and withheld until they are approved: {_some(withheld)}")
    if missing := by_state.get("missing"):
        parts.append(f"in the manifest but not listed by the server: {_some(missing)}")
    if unlisted := by_state.get("unlisted"):
        parts.append(f"listed by the server but not in the manifest: {_some(unlisted)}")
    return "; ".join(parts)


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Tools that appeared, went, or have another fingerprint, sorted."""
    return tuple(sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name)))


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
