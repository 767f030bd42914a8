"""A turn's lease at the hub: put at its start, renewed while it runs, deleted at its end.

The lease says which integrations and tools the turn's runner may call and holds the user's settings for them. It lives
in the hub's memory alone; when nobody renews it, it expires.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from pydantic import SecretStr

from hub.wire import CatalogView, IntegrationView, Lease, LeaseGrant
from sidecar.errors import HubError
from sidecar.hub_client import HubClient
from sidecar.personas import Persona, allowed_tools

log = logging.getLogger(__name__)
RENEW_S = 10.0
RETRY_S = 1.0

Settings = Mapping[str, Mapping[str, SecretStr]]


def make_lease(
    *,
    persona: Persona,
    catalog: CatalogView | None,
    user: str,
    token: SecretStr,
    settings: Settings,
    address: str = "",
) -> Lease | None:
    """What the turn may reach, or None when that is nothing. Settings of what it may not reach stay out, and so does
    one that no user has a say in: people can store any name beside those of the form."""
    if catalog is None:
        return None
    answering = {view.name: view for view in catalog.integrations if view.answers}
    grants = tuple(
        LeaseGrant(integration=name, tools=tools, settings=_users_own(answering[name], settings.get(name, {})))
        for name, tools in allowed_tools(persona, catalog).items()
        if name in answering
    )
    if not grants:
        return None
    runner = hashlib.sha256(token.get_secret_value().encode()).hexdigest()
    return Lease(runner=runner, user=user, persona=persona.id, address=address, grants=grants)


def _users_own(view: IntegrationView, given: Mapping[str, SecretStr]) -> dict[str, SecretStr]:
    """Of the values that came with the request, those of the settings that the manifest leaves to users."""
    users = {setting.key for setting in view.settings if setting.scope == "user"}
    return {key: value for key, value in given.items() if key in users}


@asynccontextmanager
async def held(hub: HubClient, lease: Lease | None, *, renew_s: float = RENEW_S) -> AsyncIterator[bool]:
    """Holds ``lease`` inside; gives False when there is none or the hub did not take it."""
    if lease is None:
        yield False
        return
    lease_id = uuid.uuid4().hex
    renewal: asyncio.Task[None] | None = None
    try:
        try:
            answer = await hub.put_lease(lease_id, lease)
            renewal = asyncio.create_task(_renew(hub, lease_id, lease, answer.boot_id, renew_s))
        except HubError as error:
            log.warning("no lease: %s", error.detail)
        yield renewal is not None
    finally:
        if renewal is not None:
            renewal.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewal
        # Also where no answer to the put was seen: the hub may have it.
        await asyncio.shield(hub.delete_lease(lease_id))


async def _renew(hub: HubClient, lease_id: str, lease: Lease, boot_id: str, renew_s: float) -> None:
    """Puts the lease again in time, and at once when the hub was restarted and has forgotten it."""
    wait_s = renew_s
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(hub.restarted(boot_id), wait_s)
        try:
            boot_id, wait_s = (await hub.put_lease(lease_id, lease)).boot_id, renew_s
        except HubError as error:
            log.warning("a lease was not renewed: %s", error.detail)
            wait_s = min(RETRY_S, renew_s)
