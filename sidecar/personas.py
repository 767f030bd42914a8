"""Who answers a turn: the picked Model's meta put together with a template's locked core.

Pure: the same model, meta and templates always make the same persona.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Final

from hub.wire import CatalogView
from sidecar.errors import InvalidRequest
from sidecar.fields import invalid, shown
from sidecar.grants import Mode, ToolGrant, granted_tools
from sidecar.meta import ROOT, IntegrationMeta, Meta, parse_meta, read_meta
from sidecar.templates import Capability, Template, Templates

__all__ = [
    "IntegrationMeta",
    "Meta",
    "Mode",
    "Persona",
    "ToolGrant",
    "allowed_tools",
    "known_models",
    "parse_meta",
    "read_meta",
    "resolve_persona",
]

PREFIX: Final = "open-persona/"
BARE_MODELS: Final = (f"{PREFIX}build", f"{PREFIX}plan")
_UNSAFE = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Persona:
    """One persona as a turn needs it.

    ``id`` is stable for a picked Model and safe as an agent's name: ``[a-z0-9-]``, ``build`` and ``plan`` for the bare
    models alone. ``model_id`` is the Model that the user picked, or the base model where none was.
    """

    id: str
    title: str
    model_id: str
    template: Template | None = None
    meta: Meta = field(default_factory=Meta)
    mode: Mode = "build"
    bare: bool = False

    @property
    def memory(self) -> bool:
        """Whether it keeps a session per chat; only a template can give that."""
        return self.template is not None and self.template.memory and self.meta.memory.enabled is not False

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it may use in the workspace. In ``plan`` mode ``files`` means reading (:attr:`writes_files`)."""
        if self.template is None:
            return frozenset({"files"}) if self.bare else frozenset()
        return self.template.capabilities - {"shell"} if self.mode == "plan" else self.template.capabilities

    @property
    def writes_files(self) -> bool:
        return self.mode == "build" and "files" in self.capabilities

    @property
    def self_reference_level(self) -> float:
        """0–1, for templates that speak of themselves."""
        return self.meta.memory.self_reference_level

    @property
    def model(self) -> str:
        """``<provider>/<model>`` by the meta, else by the template; empty: the deployment decides."""
        return self.meta.model or (self.template.model if self.template else "")


def resolve_persona(*, model: str, original_model_id: str, meta: Meta, templates: Templates) -> Persona:
    """The persona of a request for base model ``model``, picked as ``original_model_id`` (empty: directly).

    Raises ``InvalidRequest`` for an unknown base model and for a template that is named but unknown.
    """
    base = _base_template(model, templates)
    template = _named_template(meta, templates) or base or templates.get(original_model_id)
    picked = original_model_id or model
    mode: Mode = "plan" if model == f"{PREFIX}plan" else "build"
    bare = picked in BARE_MODELS and picked == model and template is None and meta == Meta()
    return Persona(
        id=mode if bare else _slug(picked),
        title=template.name if template else picked,
        model_id=picked,
        template=template,
        meta=meta,
        mode=mode,
        bare=bare,
    )


def known_models(templates: Templates) -> tuple[str, ...]:
    """What ``GET /v1/models`` lists: the bare models, then one base model per template."""
    return (*BARE_MODELS, *(f"{PREFIX}{name}" for name in templates.ids))


def allowed_tools(persona: Persona, catalog: CatalogView | None) -> ToolGrant:
    """The integrations' tools that this persona's meta switches on; errors as of ``granted_tools``."""
    return granted_tools(persona.meta.integrations, persona.mode, catalog)


def _base_template(model: str, templates: Templates) -> Template | None:
    if model in BARE_MODELS:
        return None
    template = templates.get(model.removeprefix(PREFIX)) if model.startswith(PREFIX) else None
    if template is None:
        listed = ", ".join(known_models(templates))
        raise InvalidRequest(f"There is no model {shown(model)}. Known: {listed}.", param="model")
    return template


def _named_template(meta: Meta, templates: Templates) -> Template | None:
    name = meta.persona.template
    template = templates.get(name)
    if name and template is None:
        known = ", ".join(templates.ids) or "none"
        raise invalid(f"{ROOT}.persona.template", f"There is no template {shown(name)}. Known: {known}.")
    return template


def _slug(model_id: str) -> str:
    """Two Models never share one, and none has the name of an agent of opencode's own: it ends in a hash."""
    readable = _UNSAFE.sub("-", model_id.lower())[:40].strip("-") or "persona"
    return f"{readable}-{hashlib.sha256(model_id.encode('utf-8', 'backslashreplace')).hexdigest()[:10]}"
