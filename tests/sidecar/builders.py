"""Small things that the sidecar's unit tests are made of."""

from __future__ import annotations

import base64
import json

from hub.manifest import Risk
from hub.wire import AdminState, CatalogView, Health, IntegrationView, ToolState, ToolView
from sidecar.templates import Template, Templates

PNG = "data:image/png;base64,iVBORw0KGgo="

IZZY = Template(
    id="izzy",
    name="Izzy",
    description="A grant strategist.",
    memory=True,
    capabilities=frozenset({"files"}),
    self_reference=True,
    core="You are Izzy.\n",
)
DRAFT = Template(
    id="grant-draft", name="Grant draft", description="Drafts.", aliases=("no-nonsense-grant-draft",), core="Draft."
)
TEMPLATES = Templates((IZZY, DRAFT))


def b64(value: object) -> str:
    """``value`` as a ``…-b64`` header carries it."""
    return base64.b64encode(json.dumps(value).encode()).decode()


def integration(
    name: str,
    tools: dict[str, Risk],
    *,
    states: dict[str, ToolState] | None = None,
    health: Health = "healthy",
    admin_state: AdminState = "enabled",
) -> IntegrationView:
    """An integration whose tools are approved unless ``states`` says otherwise."""
    views = tuple(
        ToolView(name=tool, risk=risk, state=(states or {}).get(tool, "approved")) for tool, risk in tools.items()
    )
    return IntegrationView(name=name, title=name.title(), admin_state=admin_state, health=health, tools=views)


def catalog(*integrations: IntegrationView) -> CatalogView:
    return CatalogView(revision="r1", boot_id="b1", integrations=integrations)
