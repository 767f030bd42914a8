"""The headers of one chat or task call: reads what is stored, decides, and encodes.

Nothing of it is taken from the request's body, but for which of the persona's switches the user has off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import request_rows as rows
from .headers import persona_headers
from .integration_tools import PREFIX as TOOL_PREFIX
from .old_chats import SeenOn, ticked_on_page, too_young
from .request_rows import StoredModel, StoredTools
from .settings import Settings
from .toggles import Switches, enabled_in, integrations_in, limited_to, stored_persona, with_switches

CHAT_PATHS = ("/api/chat/completions", "/api/v1/chat/completions")
BODY_S = 1.0


@dataclass(frozen=True)
class Call:
    """One call to the sidecar. ``metadata`` is Open WebUI's own, never a client's."""

    request: Any
    user: Any
    model_id: str
    metadata: Mapping[str, Any] = field(repr=False)

    @property
    def is_task(self) -> bool:
        return bool(self.metadata.get("task"))

    @property
    def chat_id(self) -> str:
        found = self.metadata.get("chat_id")
        return found if isinstance(found, str) else ""

    @property
    def several_models(self) -> bool:
        """Whether the chat asks several Models at once: then nothing is switched on by itself in the chat."""
        said = self.metadata.get("user_message")
        models = said.get("models") if isinstance(said, Mapping) else None
        return isinstance(models, list) and len(models) > 1


class Outgoing:
    """Makes the headers; remembers which integrations a chat has had on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen = SeenOn()

    async def headers(self, call: Call) -> dict[str, str]:
        """What says who answers, with whose keys and settings.

        Raises:
            RefusedError: the request must not leave as it is.
        """
        model, said, tools = await self._stored(call)
        persona = None
        if model is not None:
            # A user who makes a Model gives it no more than the user who chats may have.
            stored = said if model.by_admin else limited_to(said, tools.usable)
            persona = with_switches(stored, await self._switches(call, model, tools.usable & model.ticked))
        held = rows.user_valves(call.user)
        on = frozenset() if call.is_task else enabled_in(persona or {})
        settings = {name: held.of(TOOL_PREFIX + name) for name in sorted(on)}
        # The user's own keys, else the admin's, else those of the environment.
        keys = {**self._settings.default_keys, **tools.default_keys, **rows.own_keys(held)}
        return persona_headers(call.model_id, persona, keys, {name: one for name, one in settings.items() if one})

    async def _stored(self, call: Call) -> tuple[StoredModel | None, dict[str, object], StoredTools]:
        """The Model, what it says, and the tools that count for it; a task uses no tool."""
        async with rows.reading() as reading:
            model = await reading.model(call.model_id)
            if model is None:
                return None, {}, await reading.tools(frozenset(), call.user)
            said = stored_persona(model.name, model.meta, model.params)
            asked = model.ticked if model.by_admin else model.ticked | enabled_in(said)
            return model, said, await reading.tools(frozenset() if call.is_task else asked, call.user)

    async def _switches(self, call: Call, model: StoredModel, ticked: frozenset[str]) -> Switches:
        sent = call.metadata.get("tool_ids")
        if call.is_task or sent is None or call.several_models:
            return Switches(ticked=ticked)
        wanted = integrations_in(sent)
        before = self._seen.note(call.user.id, call.chat_id, wanted & ticked)
        missing = ticked - wanted
        added = await _added(call, model, missing - before) if missing - before else frozenset()
        return Switches(ticked=ticked, off=missing - added, added=added, wanted=wanted)


async def _added(call: Call, model: StoredModel, missing: frozenset[str]) -> frozenset[str]:
    page = ticked_on_page(await _body(call.request))
    if page is None:
        return frozenset()
    return too_young(missing, page, await rows.chat_began_at(call.chat_id), await rows.versions(model.id))


async def _body(request: Any) -> bytes:
    """The body as the page sent it, which Open WebUI has read already; empty for a request of another kind."""
    if getattr(request.url, "path", "") not in CHAT_PATHS:
        return b""
    try:
        async with asyncio.timeout(BODY_S):
            return bytes(await request.body())
    except Exception:  # noqa: BLE001 - a request that was closed has no body any more
        return b""
