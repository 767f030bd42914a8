"""Finding what a call acts on. A name or a part of an id is the caller's word; only what Docker shows counts.

Each function asks Docker first and returns the whole id, and the call then goes by that: between the look and the call
a name can pass to something else, an id cannot, and the labels of a thing never change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from spawner import names
from spawner.answers import Json, is_ours
from spawner.engine import Engine, failure
from spawner.errors import Absent, EngineError, Refused
from spawner.settings import SpawnerSettings

FULL_ID: Final = "[0-9a-f]{64}"


@dataclass(frozen=True)
class Member:
    """A container that may be in a user's network: a runner of that user, or a service with its alias."""

    id: str
    name: str
    alias: str


class Owned:
    def __init__(self, engine: Engine, settings: SpawnerSettings) -> None:
        self._engine = engine
        self._settings = settings

    async def container(self, target: str, version: str = "") -> Json:
        """The runner ``target`` as Docker describes it. Raises ``Absent``, ``Refused`` where it is not ours."""
        found = await self._look(f"{version}/containers/{target}/json")
        if not is_ours(_labels(found), self._settings.deployment):
            raise Refused("That container was not made by this spawner. It touches only those that were.")
        return found

    async def network(self, target: str, version: str = "") -> Json:
        """The network ``target`` as Docker describes it. Raises ``Absent``, ``Refused`` where it is not ours."""
        found = await self._look(f"{version}/networks/{target}")
        if not is_ours(found.get("Labels"), self._settings.deployment):
            raise Refused("That network was not made by this spawner. It touches only those that were.")
        return found

    async def member(self, container: str, network: Json, version: str = "") -> Member:
        """The container that is to join or leave ``network``. Raises ``Absent``, ``Refused`` where it may not."""
        found = await self._look(f"{version}/containers/{container}/json")
        name = str(found.get("Name", "")).removeprefix("/")
        alias = self._settings.services.get(name)
        if alias is not None and not is_ours(_labels(found), self._settings.deployment):
            return Member(found["Id"], name, alias)
        labels = _labels(found)
        same_user = labels.get(names.WORKSPACE) == network["Labels"].get(names.WORKSPACE)
        if is_ours(labels, self._settings.deployment) and same_user:
            return Member(found["Id"], name, "")
        raise Refused(
            "Only runners of the network's own user, and the services of OPEN_PERSONA_RUNNER_SERVICES, join a network."
        )

    async def _look(self, path: str) -> Json:
        answer = await self._engine.call("GET", path)
        if answer.status == 404:
            raise Absent(failure(answer))
        if not answer.ok:
            raise EngineError(f"Docker could not be asked: {failure(answer)}")
        found = answer.json()
        if not isinstance(found, dict) or not re.fullmatch(FULL_ID, str(found.get("Id"))):
            raise EngineError("Docker's answer can't be read.")
        return found


def _labels(container: Json) -> dict[str, Any]:
    return (container.get("Config") or {}).get("Labels") or {}
