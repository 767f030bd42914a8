"""Which tools a persona's toggles grant, given what the catalog has approved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from hub.wire import CatalogView, IntegrationView, ToolView
from sidecar.fields import child, invalid, shown
from sidecar.meta import ROOT, IntegrationMeta

Mode = Literal["build", "plan"]
"""``plan`` may read and propose; it changes nothing."""

ToolGrant = Mapping[str, tuple[str, ...]]
"""Integration → its tools that are on, sorted, by the server's own names. An integration without one is left out."""


def granted_tools(toggles: Mapping[str, IntegrationMeta], mode: Mode, catalog: CatalogView | None) -> ToolGrant:
    """The tools that ``toggles`` switch on and ``catalog`` approves; without a catalog none.

    ``InvalidRequest`` names the field when an integration that is on, or a tool that it names, does not exist.
    """
    if catalog is None:
        return {}
    known = {view.name: view for view in catalog.integrations}
    grant: dict[str, tuple[str, ...]] = {}
    for name in sorted(name for name, toggle in toggles.items() if toggle.enabled):
        path = child(f"{ROOT}.integrations", name)
        if name not in known:
            raise invalid(path, f"There is no integration {shown(name)}. Known: {_listed(known)}.")
        if tools := _tools_of(known[name], toggles[name], mode, path):
            grant[name] = tools
    return grant


def _tools_of(view: IntegrationView, toggle: IntegrationMeta, mode: Mode, path: str) -> tuple[str, ...]:
    # A broken manifest states no tools; that must not turn the persona's whole turn into an error.
    if view.health == "invalid" or view.admin_state == "disabled":
        return ()
    names = {tool.name for tool in view.tools}
    for index, tool in enumerate(toggle.tools or ()):
        if tool not in names:
            raise invalid(f"{path}.tools[{index}]", f"{view.name} has no tool {shown(tool)}. Known: {_listed(names)}.")
    return tuple(sorted(tool.name for tool in view.tools if _granted(tool, toggle, mode)))


def _granted(tool: ToolView, toggle: IntegrationMeta, mode: Mode) -> bool:
    if tool.state != "approved" or (mode == "plan" and tool.risk != "read"):
        return False
    if toggle.tools is None:
        return tool.risk != "destructive"
    return tool.name in toggle.tools


def _listed(names: Mapping[str, object] | set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
