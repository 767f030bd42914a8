"""Connecting a turn's integrations in its runner, and saying which are left out and why."""

from __future__ import annotations

import asyncio
import logging

from hub.wire import CatalogView, IntegrationView
from sidecar.errors import RunnerError
from sidecar.opencode_config import Door, server_entry
from sidecar.personas import Persona, allowed_tools
from sidecar.runners.pool import LiveRunner, Say

log = logging.getLogger(__name__)


async def connect(persona: Persona, catalog: CatalogView | None, live: LiveRunner, door: Door, say: Say) -> None:
    """Connects what the persona switches on and the hub finds answering; the others are left out with a line each."""
    wanted = persona.meta.enabled_integrations
    if catalog is None:
        if wanted:
            say(f"The hub does not answer: {', '.join(wanted)} left out of this answer.")
        return
    views = {view.name: view for view in catalog.integrations}
    granted = allowed_tools(persona, catalog)
    for name in wanted:
        if not views[name].answers or name not in granted:
            say(_left_out(views[name]))
    async with live.servers_lock:
        stale = [views[name] for name in granted if views[name].answers and not _is_connected(live, views[name])]
        if stale:
            await asyncio.gather(*(_connect_one(live, view, door) for view in stale))
            states = await live.client.server_states()
            for view in stale:
                if states.get(view.name) == "connected":
                    live.connected[view.name] = view.tool_fingerprint
                else:
                    say(f"{view.title} could not be connected and is left out of this answer.")


def _is_connected(live: LiveRunner, view: IntegrationView) -> bool:
    return live.connected.get(view.name) == view.tool_fingerprint


async def _connect_one(live: LiveRunner, view: IntegrationView, door: Door) -> None:
    """A server whose tools have changed is connected anew, so that the runner lists them as they are."""
    try:
        if view.name not in live.loaded.servers:
            entry = server_entry(view, door(view), live.spec.token.get_secret_value())
            await live.client.add_server(view.name, {**entry, "enabled": True})
            return
        if view.name in live.connected:
            await live.client.disconnect_server(view.name)
        await live.client.connect_server(view.name)
    except RunnerError as error:
        log.warning("connecting %s: %s", view.name, error.detail)


def _left_out(view: IntegrationView) -> str:
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
