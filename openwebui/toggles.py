"""Which integrations a request has on: what the Model says, what an admin ticked, what the user switched off.

Pure. The Model's word is ``meta.open_persona`` with the custom parameter ``open_persona`` folded over it; both are read
from the stored row, since users can set parameters of their own requests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

from .integration_tools import PREFIX as TOOL_PREFIX
from .request_errors import ModelAtFaultError

KEY = "open_persona"


@dataclass(frozen=True)
class Switches:
    """What is known of a request's switches, as names of integrations.

    ``ticked`` are on in the Model by a tick that counts for this user; ``off`` are those of them that the user switched
    off, ``added`` those that an old chat does not know of yet; ``wanted`` are those that the user has on.
    """

    ticked: frozenset[str] = frozenset()
    off: frozenset[str] = frozenset()
    added: frozenset[str] = frozenset()
    wanted: frozenset[str] = frozenset()


def integration_of(tool_id: object) -> str:
    """The integration of a settings-only tool; empty for any other."""
    return tool_id.removeprefix(TOOL_PREFIX) if isinstance(tool_id, str) and tool_id.startswith(TOOL_PREFIX) else ""


def integrations_in(tool_ids: object) -> frozenset[str]:
    """The integrations among tool ids; none in anything that is no list."""
    found = (integration_of(one) for one in tool_ids) if isinstance(tool_ids, list | tuple) else ()
    return frozenset(name for name in found if name)


def stored_persona(name: str, meta: Mapping[str, object], params: Mapping[str, object]) -> dict[str, object]:
    """``meta.open_persona`` of the Model called ``name``, with its custom parameter folded over it.

    Raises:
        ModelAtFaultError: one of them is not a JSON object.
    """
    base = meta.get(KEY) or {}
    if not isinstance(base, Mapping):
        raise ModelAtFaultError(
            f"meta.open_persona of the Model “{name}” is not a JSON object. Ask an admin to mend it."
        )
    custom = params.get("custom_params")
    return _merged(base, _custom(name, custom.get(KEY) if isinstance(custom, Mapping) else None))


def limited_to(persona: Mapping[str, object], usable: frozenset[str]) -> dict[str, object]:
    """The persona with every integration off that it has on and that is not in ``usable``."""
    toggles = persona.get("integrations")
    off = enabled_in(persona) - usable
    if not off or not isinstance(toggles, Mapping):
        return dict(persona)
    return {**persona, "integrations": {**toggles, **{name: {**toggles[name], "enabled": False} for name in off}}}


def with_switches(persona: Mapping[str, object], switches: Switches) -> dict[str, object]:
    """The persona with ticks and switches folded in.

    On is what the Model says, else what is ticked; a user can switch off what is ticked, and nothing on.
    """
    folded = deepcopy(dict(persona))
    said = folded.get("integrations", {})
    if not isinstance(said, Mapping):
        return folded  # the sidecar names the fault
    toggles = dict(said)
    for name in switches.ticked:
        toggle = toggles.get(name, {})
        if isinstance(toggle, Mapping):
            on = toggle.get("enabled", True) if name not in switches.off else False
            toggles[name] = {**toggle, "enabled": on}
    if toggles:
        folded["integrations"] = toggles
    notices = {
        "lacking": sorted(switches.wanted - enabled_in(folded)),
        "added": sorted(switches.added & enabled_in(folded)),
    }
    if any(notices.values()):
        folded["notices"] = {key: names for key, names in notices.items() if names}
    return folded


def enabled_in(persona: Mapping[str, object]) -> frozenset[str]:
    """The integrations that a persona has on."""
    toggles = persona.get("integrations")
    found = toggles.items() if isinstance(toggles, Mapping) else ()
    return frozenset(name for name, toggle in found if isinstance(toggle, Mapping) and toggle.get("enabled") is True)


def _custom(name: str, value: object) -> Mapping[str, object]:
    """The custom parameter: text as an admin typed it, or an object from an import."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else {}
        except (ValueError, RecursionError):
            value = None
        if value is None:
            raise ModelAtFaultError(_custom_fault(name))
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ModelAtFaultError(_custom_fault(name))
    return value


def _custom_fault(name: str) -> str:
    return (
        f"The custom parameter open_persona of the Model “{name}” is not a JSON object. An admin mends it in "
        "Workspace > Models > Advanced Params."
    )


def _merged(base: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """``over`` wins; objects are merged key by key."""
    merged = dict(base)
    for key, value in over.items():
        held = merged.get(key)
        both = isinstance(held, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(held, value) if both else value  # type: ignore[arg-type]
    return merged
