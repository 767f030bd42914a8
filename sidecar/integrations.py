"""Connecting a turn's integrations in its runner, and saying which are left out and why."""

from __future__ import annotations

import asyncio
import logging

from hub.wire import CatalogView, IntegrationView
from sidecar.errors import RunnerError
from sidecar.opencode_config import Door, server_entry
from sidecar.personas import Persona, allowed_tools
from sidecar.runners.live import LiveRunner, Say

log = logging.getLogger(__name__)


def left_out(persona: Persona, catalog: CatalogView | None, *, reachable: bool) -> list[str]:
    """A line for each integration that the persona switches on and the turn goes without.

    ``reachable`` is whether the hub took the turn's lease: without one nothing can be called.
    """
    wanted = persona.meta.enabled_integrations
    if catalog is None:
        return [f"The hub does not answer: {', '.join(wanted)} left out of this answer."] if wanted else []
    views = {view.name: view for view in catalog.integrations}
    granted = allowed_tools(persona, catalog)
    lines = [_why_left_out(views[name]) for name in wanted if not views[name].answers or name not in granted]
    ready = [views[name].title for name in granted if views[name].answers]
    if ready and not reachable:
        lines.append(f"The hub does not answer: {', '.join(ready)} left out of this answer.")
    return lines


def notices(persona: Persona, catalog: CatalogView | None) -> list[str]:
    """What the user is told of switches in the chat that do not do what they show; unknown names are not repeated."""
    titles = {view.name: view.title for view in catalog.integrations} if catalog else {}
    told = persona.meta.notices
    lines = [
        f"{titles[name]} is not part of this persona, so switching it on does nothing."
        for name in told.lacking
        if name in titles
    ]
    return lines + [
        f"{titles[name]} is on: this persona got it after this chat began. To go without it, start a new chat and "
        "switch it off there."
        for name in told.added
        if name in titles
    ]


async def connect(
    persona: Persona, catalog: CatalogView | None, live: LiveRunner, door: Door, say: Say
) -> frozenset[str]:
    """Connects in the runner what the persona switches on and the hub finds answering, if that is not done yet.

    Returns the integrations that the turn may count on: no other may be offered to its model.
    """
    if catalog is None:
        return frozenset()
    views = {view.name: view for view in catalog.integrations}
    wanted = [views[name] for name in allowed_tools(persona, catalog) if views[name].answers]
    if not all(_is_connected(live, view) for view in wanted):
        async with live.servers_lock:
            await _connect_stale(live, [view for view in wanted if not _is_connected(live, view)], door)
    for view in wanted:
        if not _is_connected(live, view):
            say(f"{view.title} could not be connected and is left out of this answer.", done=True)
    return frozenset(view.name for view in wanted if _is_connected(live, view))


async def _connect_stale(live: LiveRunner, stale: list[IntegrationView], door: Door) -> None:
    if not stale:
        return
    await asyncio.gather(*(_connect_one(live, view, door) for view in stale))
    states = await live.client.server_states()
    live.connected |= {view.name: _shown(view) for view in stale if states.get(view.name) == "connected"}


def _is_connected(live: LiveRunner, view: IntegrationView) -> bool:
    return live.connected.get(view.name) == _shown(view)


def _shown(view: IntegrationView) -> str:
    """What the gateway lists of it: another one when the server's tools change, or what its manifest approves."""
    return " ".join((view.tool_fingerprint, *(tool.name for tool in view.tools if tool.state == "approved")))


async def _connect_one(live: LiveRunner, view: IntegrationView, door: Door) -> None:
    """A server whose tools have changed is connected anew, so that the runner lists them as they are."""
    known = live.connected.pop(view.name, None)
    try:
        if view.name not in live.loaded.servers:
            entry = server_entry(view, door(view), live.spec.token.get_secret_value())
            await live.client.add_server(view.name, {**entry, "enabled": True})
            return
        if known is not None:
            await live.client.disconnect_server(view.name)
        await live.client.connect_server(view.name)
    except RunnerError as error:
        log.warning("connecting %s: %s", view.name, error.detail)


def _why_left_out(view: IntegrationView) -> str:
    if view.admin_state == "disabled":
        return f"{view.title} is switched off by the operator and left out of this answer."
    if not view.answers:
        return f"{view.title} does not work now ({view.reason or view.health}) and is left out of this answer."
    return f"{view.title} has no tool that this persona may use now and is left out of this answer."


def tool_title(name: str, catalog: CatalogView | None) -> str:
    """``<integration>_<tool>`` as people read it; opencode's own tools by their name."""
    for view in catalog.integrations if catalog else ():
        if name.startswith(f"{view.name}_"):
            return f"{view.title}: {name.removeprefix(f'{view.name}_').replace('_', ' ')}"
    return name
