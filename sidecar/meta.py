"""What an admin sets for a persona: the model of ``meta.open_persona``, read from its header.

Unknown keys are ignored and reported once each; a wrong type is an ``InvalidRequest`` that names the field.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from sidecar.fields import child, from_validation, invalid
from sidecar.headers import decode_json

META_HEADER: Final = "x-openpersona-meta-b64"
ROOT: Final = "open_persona"
DEFAULT_SELF_REFERENCE: Final = 0.35

logger = logging.getLogger(__name__)


def _level(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("Input should be a number between 0 and 1")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("Input should be a finite number")
    return float(min(1, max(0, value)))


Level = Annotated[float, BeforeValidator(_level)]
"""A number clamped to 0–1."""


class _MetaPart(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class PersonaMeta(_MetaPart):
    """``template`` is a template's id or alias; empty: none is named."""

    template: str = ""


class MemoryMeta(_MetaPart):
    """``enabled`` unsaid: as the template has it."""

    enabled: bool | None = None
    self_reference_level: Level = DEFAULT_SELF_REFERENCE


class IntegrationMeta(_MetaPart):
    """One toggle. ``tools`` unsaid: all of the integration's read and write tools; said: only those."""

    enabled: bool = False
    tools: Annotated[tuple[str, ...] | None, Field(strict=False)] = None


class Notices(_MetaPart):
    """What the user is told of this request's switches, as names of integrations.

    ``lacking``: the user has it on in the chat, but the persona does not have it. ``added``: an admin switched it on
    after the chat began, so the chat still shows it as off.
    """

    lacking: Annotated[tuple[str, ...], Field(strict=False)] = ()
    added: Annotated[tuple[str, ...], Field(strict=False)] = ()


class Meta(_MetaPart):
    """``meta.open_persona``; every part is optional. ``model`` is ``<provider>/<model>``, empty: not said."""

    persona: PersonaMeta = PersonaMeta()
    integrations: Mapping[str, IntegrationMeta] = Field(default_factory=dict)
    memory: MemoryMeta = MemoryMeta()
    model: str = ""
    notices: Notices = Notices()

    @property
    def enabled_integrations(self) -> tuple[str, ...]:
        """Names of the integrations that are on, sorted."""
        return tuple(sorted(name for name, toggle in self.integrations.items() if toggle.enabled))


class OncePerPath:
    """Logs each unknown key once; ``limit`` bounds what it remembers, after that it is silent."""

    def __init__(self, log: Callable[[str, str], None], *, limit: int = 200) -> None:
        self._log = log
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, path: str) -> None:
        if path not in self._seen and len(self._seen) < self._limit:
            self._seen.add(path)
            self._log("%s is not a known setting: ignored", path)


_log_unknown = OncePerPath(logger.warning)


def parse_meta(header: str | None, *, on_unknown: Callable[[str], None] = _log_unknown) -> Meta:
    """The meta that ``x-openpersona-meta-b64`` carries; absent or empty: ``Meta()``.

    ``on_unknown`` is called with the path of every key that is ignored.
    """
    return Meta() if not header else read_meta(decode_json(header, META_HEADER), on_unknown=on_unknown)


def read_meta(raw: object, *, on_unknown: Callable[[str], None] = _log_unknown) -> Meta:
    """The meta of a decoded JSON value."""
    if not isinstance(raw, dict):
        raise invalid(ROOT, "Input should be a JSON object.")
    try:
        meta = Meta.model_validate(raw)
    except ValidationError as error:
        raise from_validation(error, ROOT) from None
    for path in _unknown_keys(raw):
        on_unknown(path)
    return meta


def _unknown_keys(raw: Mapping[str, object]) -> Iterator[str]:
    yield from _extra(raw, Meta, ROOT)
    yield from _extra(raw.get("persona"), PersonaMeta, f"{ROOT}.persona")
    yield from _extra(raw.get("memory"), MemoryMeta, f"{ROOT}.memory")
    yield from _extra(raw.get("notices"), Notices, f"{ROOT}.notices")
    integrations = raw.get("integrations")
    for name, toggle in integrations.items() if isinstance(integrations, dict) else ():
        yield from _extra(toggle, IntegrationMeta, child(f"{ROOT}.integrations", name))


def _extra(part: object, shape: type[BaseModel], path: str) -> Iterator[str]:
    for key in part if isinstance(part, dict) else ():
        if key not in shape.model_fields:
            yield child(path, key)
