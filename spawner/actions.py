"""What each allowed call does. Nothing of the caller's goes on to Docker but values that were checked."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from spawner import answers, names
from spawner.calls import Asked
from spawner.container_body import new_container
from spawner.engine import CALL_S, Answer, Engine, as_answer, failure
from spawner.errors import Absent, Refused
from spawner.network_body import joining, leaving, new_network
from spawner.owned import Owned
from spawner.queries import narrowed
from spawner.settings import SpawnerSettings
from spawner.starting import Starting

log = logging.getLogger("spawner")
DOCKERS_STOP_S: Final = 10
"""How long Docker waits at a stop that names no time."""

Action = Callable[[Asked, object], Awaitable[Answer]]


class Actions:
    """One method per kind of call; ``do`` finds it. ``body`` is the parsed JSON where the call has one."""

    def __init__(self, engine: Engine, settings: SpawnerSettings) -> None:
        self._engine = engine
        self._settings = settings
        self.owned = Owned(engine, settings)
        self._starting = Starting(engine, settings.data_dir)
        self.label = f"{names.SPAWNER}={settings.deployment}"
        self._actions: Mapping[str, Action] = {
            "ping": self._ping,
            "version": self._version,
            "image_inspect": self._image_inspect,
            "container_list": self._list,
            "container_create": self._container_create,
            "container_inspect": self._container_inspect,
            "container_start": self._container_start,
            "container_stop": self._on_container,
            "container_kill": self._on_container,
            "container_pause": self._on_container,
            "container_unpause": self._on_container,
            "container_remove": self._on_container,
            "container_logs": self._on_container,
            "container_top": self._on_container,
            "network_list": self._list,
            "network_create": self._network_create,
            "network_inspect": self._network_inspect,
            "network_remove": self._network_remove,
            "network_connect": self._network_connect,
            "network_disconnect": self._network_disconnect,
        }

    async def do(self, asked: Asked, body: object) -> Answer:
        """The answer to a call; Docker's errors keep their status and message. Raises ``CallError``."""
        answer = await self._actions[asked.call.name](asked, body)
        return answer if answer.ok else as_answer({"message": failure(answer)}, answer.status)

    async def _ping(self, asked: Asked, _body: object) -> Answer:
        return await self._engine.call("GET", asked.path(), deadline_s=5)

    async def _version(self, asked: Asked, _body: object) -> Answer:
        return _told(await self._engine.call("GET", asked.path()), answers.version)

    async def _image_inspect(self, asked: Asked, _body: object) -> Answer:
        if asked.target != self._settings.runner_image:
            raise Refused(f"The only image is {self._settings.runner_image}.")
        return _told(await self._engine.call("GET", asked.path(asked.target)), answers.without_environment)

    async def _list(self, asked: Asked, _body: object) -> Answer:
        query = {**asked.query, "filters": narrowed(asked.query.get("filters"), self.label)}
        answer = await self._engine.call("GET", asked.path(), query=query)
        return _told(answer, lambda found: answers.ours_of(found, self._settings.deployment))

    async def _container_create(self, asked: Asked, body: object) -> Answer:
        new = new_container(body, asked.query.get("name", ""), self._settings)
        await self._starting.folders(new.workspace, new.key_sig)
        await self.owned.network(new.network, asked.version)
        answer = await self._engine.call("POST", asked.path(), query={"name": new.name}, body=new.body)
        _note("created", new.name, answer)
        return answer

    async def _container_inspect(self, asked: Asked, _body: object) -> Answer:
        return as_answer(answers.without_environment(await self.owned.container(asked.target, asked.version)))

    async def _container_start(self, asked: Asked, _body: object) -> Answer:
        container = await self.owned.container(asked.target, asked.version)
        return await self._starting.start(container, asked.path(container["Id"]))

    async def _on_container(self, asked: Asked, _body: object) -> Answer:
        container = await self.owned.container(asked.target, asked.version)
        waits_s = int(asked.query.get("t", DOCKERS_STOP_S)) if asked.call.name == "container_stop" else 0
        path = asked.path(container["Id"])
        answer = await self._engine.call(asked.call.method, path, query=asked.query, deadline_s=CALL_S + waits_s)
        if asked.call.method == "DELETE":
            _note("removed", container["Name"].lstrip("/"), answer)
        return answer

    async def _network_create(self, asked: Asked, body: object) -> Answer:
        new = new_network(body, self._settings)
        answer = await self._engine.call("POST", asked.path(), body=new.body)
        _note("created", new.name, answer)
        return answer

    async def _network_inspect(self, asked: Asked, _body: object) -> Answer:
        return as_answer(await self.owned.network(asked.target, asked.version))

    async def _network_remove(self, asked: Asked, _body: object) -> Answer:
        network = await self.owned.network(asked.target, asked.version)
        answer = await self._engine.call("DELETE", asked.path(network["Id"]))
        _note("removed", network["Name"], answer)
        return answer

    async def _network_connect(self, asked: Asked, body: object) -> Answer:
        wanted = joining(body)
        network = await self.owned.network(asked.target, asked.version)
        member = await self.owned.member(wanted.Container, network, asked.version)
        aliases = [member.alias] if member.alias else []
        if wanted.EndpointConfig.Aliases != aliases:
            raise Refused(f"EndpointConfig.Aliases must be {aliases} for this container.")
        joined = {"Container": member.id, "EndpointConfig": {"Aliases": aliases}}
        return await self._engine.call("POST", asked.path(network["Id"]), body=joined)

    async def _network_disconnect(self, asked: Asked, body: object) -> Answer:
        wanted = leaving(body)
        network = await self.owned.network(asked.target, asked.version)
        try:
            container = (await self.owned.member(wanted.Container, network, asked.version)).id
        except Absent:
            # A container that is gone can still hold its place in a network; Docker knows it there by its name.
            if not wanted.Force or wanted.Container not in self._settings.services:
                raise
            container = wanted.Container
        return await self._engine.call(
            "POST", asked.path(network["Id"]), body={"Container": container, "Force": wanted.Force}
        )


def _told(answer: Answer, shorten: Callable[[Any], object]) -> Answer:
    return as_answer(shorten(answer.json())) if answer.ok else answer


def _note(what: str, name: str, answer: Answer) -> None:
    if answer.ok:
        log.info("%s %s", what, name)
    else:
        log.warning("Docker has not %s %s (status %d)", what, name, answer.status)
