"""The personas that a user has used: those get an agent of their own in the user's opencode config."""

from __future__ import annotations

import asyncio
import json
import logging

from sqlalchemy.exc import SQLAlchemyError

from sidecar.errors import InvalidRequest
from sidecar.meta import read_meta
from sidecar.personas import Persona, resolve_persona
from sidecar.store import KnownPersona, Store
from sidecar.templates import Templates

log = logging.getLogger(__name__)
MAX_PERSONAS = 50
"""More agents than that would only make a user's config large; older ones run on their template's agent."""


class PersonaRegistry:
    """Kept in the store, so that a restarted sidecar writes the same config. Holds nothing that a message says."""

    def __init__(self, store: Store, templates: Templates) -> None:
        self._store = store
        self._templates = templates
        self._users: dict[str, dict[str, Persona]] = {}

    async def with_used(self, user: str, persona: Persona, model: str) -> list[Persona]:
        """The user's personas, this one as it is now among them, sorted by id; bare models are none."""
        known = self._users.get(user)
        if known is None:
            known = self._users.setdefault(user, await asyncio.to_thread(self._load, user))
        if not persona.bare and known.get(_key(persona)) != persona:
            known.pop(_key(persona), None)
            known[_key(persona)] = persona
            for oldest in list(known)[:-MAX_PERSONAS]:
                del known[oldest]
            meta = persona.meta.model_dump_json(exclude_defaults=True)
            picked = persona.model_id if persona.model_id != model else ""
            entry = KnownPersona(_key(persona), model, picked, meta)
            await self._remember(user, entry)
        return [known[key] for key in sorted(known)]

    def forget(self, user: str) -> None:
        """What is held of this user in memory; the store is its owner's to clear."""
        self._users.pop(user, None)

    async def _remember(self, user: str, entry: KnownPersona) -> None:
        """A failure costs the agent of its own after a restart, not the turn."""
        try:
            await asyncio.to_thread(self._store.remember_persona, user, entry)
        except SQLAlchemyError:
            log.exception("a persona could not be noted")

    def _load(self, user: str) -> dict[str, Persona]:
        found: dict[str, Persona] = {}
        for entry in reversed(self._store.personas(user, MAX_PERSONAS)):
            try:
                meta = read_meta(json.loads(entry.meta))
                persona = resolve_persona(
                    model=entry.model, original_model_id=entry.picked, meta=meta, templates=self._templates
                )
            except InvalidRequest:  # its template is gone
                continue
            found[_key(persona)] = persona
        return found


def _key(persona: Persona) -> str:
    return f"{persona.id}/{persona.mode}"
