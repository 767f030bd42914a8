"""What the hub and the sidecar answer, as far as the seeder needs it: ``docs/reference/hub-api.md``.

Read leniently: an entry that cannot be used is left out, so that one bad integration does not hide the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,99}")
_MODEL = re.compile(r"open-persona/[a-z][a-z0-9-]{0,63}")


@dataclass(frozen=True)
class Setting:
    """A setting that each user has for themselves."""

    key: str
    title: str
    description: str = ""
    help_url: str = ""
    secret: bool = False
    required: bool = False


@dataclass(frozen=True)
class Integration:
    """One integration. An invalid one has lost its settings, since its manifest cannot be read."""

    name: str
    title: str
    description: str = ""
    health: str = "starting"
    reason: str = ""
    action: str = ""
    disabled: bool = False
    settings: tuple[Setting, ...] = ()

    @property
    def invalid(self) -> bool:
        return self.health == "invalid"


@dataclass(frozen=True)
class Catalog:
    """All integrations of one revision."""

    revision: str
    integrations: tuple[Integration, ...] = ()


def parse_catalog(answer: object) -> Catalog:
    """``GET /api/v1/integrations``. Raises ``ValueError`` when it is not the answer of a hub."""
    if not isinstance(answer, dict) or not isinstance(answer.get("integrations"), list):
        raise ValueError("not a catalog")
    found = (_integration(entry) for entry in answer["integrations"] if isinstance(entry, dict))
    return Catalog(_text(answer, "revision"), tuple(each for each in found if each is not None))


def parse_models(answer: object) -> tuple[str, ...]:
    """``GET /v1/models``: the ids of ours, in the sidecar's order. Raises ``ValueError`` for any other answer."""
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
        raise ValueError("not a list of models")
    ids = (_text(entry, "id") for entry in answer["data"] if isinstance(entry, dict))
    return tuple(dict.fromkeys(each for each in ids if _MODEL.fullmatch(each)))


def _integration(entry: Mapping[str, object]) -> Integration | None:
    name = _text(entry, "name")
    if not _NAME.fullmatch(name):
        return None
    return Integration(
        name=name,
        title=_text(entry, "title") or name,
        description=_text(entry, "description"),
        health=_text(entry, "health"),
        reason=_text(entry, "reason"),
        action=_text(entry, "action"),
        disabled=entry.get("admin_state") == "disabled",
        settings=tuple(_settings(entry.get("settings"))),
    )


def _settings(entries: object) -> Iterator[Setting]:
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or entry.get("scope", "user") != "user":
            continue
        key = _text(entry, "key")
        if _KEY.fullmatch(key):
            yield Setting(
                key=key,
                title=_text(entry, "title") or key,
                description=_text(entry, "description"),
                help_url=_text(entry, "help_url"),
                secret=entry.get("secret") is True,
                required=entry.get("required") is True,
            )


def _text(entry: Mapping[str, object], key: str) -> str:
    """A text of the answer, as something that every database and browser can take: no lone surrogates."""
    value = entry.get(key)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""
