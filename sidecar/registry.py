"""The personas that a user has used: those get an agent of their own in the user's opencode config."""

from __future__ import annotations

import asyncio
import json

from sidecar.errors import InvalidRequest
from sidecar.meta import read_meta
from sidecar.personas import Persona, resolve_persona
from sidecar.store import KnownPersona, Store
from sidecar.templates import Templates


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
            known = self._users[user] = await asyncio.to_thread(self._load, user)
        if not persona.bare and known.get(_key(persona)) != persona:
            known[_key(persona)] = persona
            meta = persona.meta.model_dump_json(exclude_defaults=True)
            picked = persona.model_id if persona.model_id != model else ""
            entry = KnownPersona(_key(persona), model, picked, meta)
            await asyncio.to_thread(self._store.remember_persona, user, entry)
        return [known[key] for key in sorted(known)]

    def _load(self, user: str) -> dict[str, Persona]:
        found: dict[str, Persona] = {}
        for entry in self._store.personas(user):
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
