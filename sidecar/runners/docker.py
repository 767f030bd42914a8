"""The ``docker`` mode: each user's runner in a hardened container of its own, on a network of its own.

Containers outlive the sidecar. Which are ours is read from Docker by label each time: nothing about them is kept here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import aiohttp
from pydantic import SecretStr

from sidecar.errors import RunnerError
from sidecar.identity import instance_id, runner_password, runner_token
from sidecar.runners.base import FoundRunner, RunnerSpec
from sidecar.runners.container_spec import KEYSIG, SPEC, WORKSPACE, Surroundings, container_spec
from sidecar.runners.docker_containers import Container, Containers
from sidecar.runners.docker_directories import runner_user
from sidecar.runners.docker_engine import Engine
from sidecar.runners.docker_events import ContainerEvents
from sidecar.runners.docker_networks import UserNetworks
from sidecar.runners.docker_runner import Docker, DockerRunner, unveiled
from sidecar.settings import Settings

log = logging.getLogger(__name__)


class DockerMode:
    """``http`` is for the runners' own API; it is shared and stays the caller's."""

    lasting = True

    def __init__(self, settings: Settings, http: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._engine = Engine(settings.docker_host)
        instance = instance_id(settings.token_key)
        self._docker = Docker(
            settings,
            http,
            Containers(self._engine, instance),
            UserNetworks(self._engine, settings),
            ContainerEvents(self._engine, instance),
        )

    async def open(self) -> None:
        await self._docker.events.open()

    @property
    def following(self) -> bool:
        """Whether Docker tells what happens to runners; else it is asked every few seconds."""
        return self._docker.events.connected

    async def close(self) -> None:
        """The containers stay."""
        await self._docker.events.close()
        await self._engine.close()

    def make(self, spec: RunnerSpec) -> DockerRunner:
        return DockerRunner(spec, self._docker)

    async def found(self) -> Sequence[FoundRunner]:
        listed = await self._docker.containers.list()
        if not listed:
            return []
        try:
            image = await self._docker.containers.image_id(self._settings.runner_image)
        except RunnerError as error:
            if error.reason != "runner_missing":
                raise
            image = ""  # none can be made: those that are there stay, and each is compared with its own image
        gateways = await self._docker.networks.gateways()
        user = "{}:{}".format(*runner_user())

        def would_be(workspace: str, key_sig: str, own_image: str) -> str | None:
            gateway = gateways.get(workspace)
            if gateway is None:
                return None
            seen = gateway if self._docker.networks.on_host else None
            around = Surroundings(self._settings, image or own_image, user, seen)
            return container_spec(self._spec(workspace, key_sig), around).hash

        return [
            FoundRunner(
                one.name,
                workspace := one.labels.get(WORKSPACE, ""),
                key_sig := one.labels.get(KEYSIG, ""),
                _state(one),
                one.labels.get(SPEC) == would_be(workspace, key_sig, one.image),
            )
            for one in listed
        ]

    def _spec(self, workspace: str, key_sig: str, name: str = "") -> RunnerSpec:
        """What of a spec its hash knows; token and password where ``name`` is given."""
        home, key = self._settings.home, self._settings.token_key
        return RunnerSpec(
            name=name,
            workspace_hash=workspace,
            key_sig=key_sig,
            workspace=home / "workspaces" / workspace,
            private=home / "runners" / workspace / key_sig,
            config_text="",
            token=runner_token(key, name) if name else SecretStr(""),
            password=runner_password(key, name) if name else SecretStr(""),
        )

    async def remove(self, name: str) -> None:
        found = await self._docker.containers.find(name)
        if found is None:
            return
        self._refuse_stranger(found, name)
        await self._docker.containers.remove(found.id)
        await self._leave_network(found.labels.get(WORKSPACE, ""))

    async def tidy(self) -> None:
        used = {one.labels.get(WORKSPACE) for one in await self._docker.containers.list()}
        for workspace in await self._docker.networks.workspaces() - used:
            await self._leave_network(workspace)

    async def _leave_network(self, workspace: str) -> None:
        """What can't be removed now is tidied later."""
        try:
            await self._docker.networks.remove_unused(workspace)
        except RunnerError as error:
            log.warning("the network of workspace %s is left: %s", workspace, error.detail)

    async def logs(self, name: str, lines: int) -> str:
        found = await self._docker.containers.find(name)
        if found is None:
            raise RunnerError(f"There is no runner '{name}'.", reason="runner_lost")
        self._refuse_stranger(found, name)
        return unveiled(self._spec("", "", found.name), await self._docker.containers.logs(found.id, lines))

    def _refuse_stranger(self, found: Container, name: str) -> None:
        if not self._docker.containers.owns(found):
            raise RunnerError(f"'{name}' is no runner of this deployment.", reason="runner_lost")


def _state(found: Container) -> Literal["running", "paused", "ended"]:
    return "paused" if found.state == "paused" else "running" if found.state == "running" else "ended"
