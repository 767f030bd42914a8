"""A runner in a container of its own: ``start · poll · stop``, and what a runner that outlives its sidecar needs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp

from sidecar.cleanup import complete
from sidecar.errors import RunnerError
from sidecar.opencode_client import OpencodeClient
from sidecar.runners.base import Ending, RunnerSpec
from sidecar.runners.container_spec import (
    PORT,
    SPEC,
    ContainerSpec,
    Surroundings,
    container_spec,
    network_name,
)
from sidecar.runners.docker_containers import Container, Containers
from sidecar.runners.docker_directories import prepare_for_container, runner_user
from sidecar.runners.docker_events import KILLED, ContainerEvents, Watched
from sidecar.runners.docker_networks import UserNetworks
from sidecar.runners.process import VERSION
from sidecar.settings import Settings

log = logging.getLogger(__name__)
POLL_S: Final = 0.1
ADOPT_S: Final = 10.0
UNDO_S: Final = 20.0
OWN_PROCESSES: Final = 2
"""docker-init and opencode; an opencode that is idle has no child."""


@dataclass(frozen=True)
class Docker:
    """What all runners of one deployment share. ``http`` stays the caller's."""

    settings: Settings
    http: aiohttp.ClientSession
    containers: Containers
    networks: UserNetworks
    events: ContainerEvents


class DockerRunner:
    """``on_oom`` may be set: it is called in the event loop when memory runs out in it, which it can outlive."""

    def __init__(self, spec: RunnerSpec, docker: Docker) -> None:
        self.spec = spec
        self.on_oom: Callable[[], None] | None = None
        self._docker = docker
        self._watched: Watched | None = None
        self._ending_it = asyncio.Lock()
        self._left: str | None = None

    async def start(self) -> str:
        try:
            await asyncio.to_thread(prepare_for_container, self.spec)
        except OSError as error:
            raise RunnerError(
                "Your workspace's folders can't be made. Its operator has to look at the disk and at who owns "
                "OPEN_PERSONA_HOME.",
                detail=f"{self.spec.name}: {error}",
            ) from None
        try:
            return await self._start()
        except BaseException:
            await complete(self._undo())
            raise

    async def _start(self) -> str:
        seconds = self._docker.settings.runner_start_timeout_s
        with self._docker.networks.held(self.spec.workspace_hash):
            try:
                async with asyncio.timeout(seconds):
                    found = await self._run(await self._claim())
            except TimeoutError:
                raise await self._failed(f"its container did not start within {seconds:g} s") from None
        url = await self._url(found)
        await self._healthy(url, self._docker.settings.runner_health_timeout_s)
        return url

    async def _claim(self) -> Container:
        docker = self._docker
        image = await docker.containers.image_id(docker.settings.runner_image)
        return await docker.containers.claim(await self._wanted(image))

    async def _wanted(self, image: str) -> ContainerSpec:
        """What would be made of this image today, its network included."""
        docker = self._docker
        network = await docker.networks.ensure(self.spec.workspace_hash)
        user = "{}:{}".format(*runner_user())
        gateway = network.gateway if docker.networks.on_host else None
        return container_spec(self.spec, Surroundings(docker.settings, image, user, gateway))

    async def _run(self, found: Container) -> Container:
        self._watch(found)
        return found if found.state == "running" else await self._docker.containers.run(found)

    def _watch(self, found: Container) -> Watched:
        self._watched = self._docker.events.watch(found.id, self._ran_out_of_memory)
        return self._watched

    def _ran_out_of_memory(self) -> None:
        log.warning("runner %s ran out of memory", self.spec.name)
        if self.on_oom is not None:
            self.on_oom()

    async def _url(self, found: Container) -> str:
        """The address is another one after every start."""
        if address := found.address(network_name(self.spec.workspace_hash)):
            return f"http://{address}:{PORT}"
        if found.state == "running":
            raise await self._failed("its container is not in its network")
        state = found.raw["State"]
        raise await self._failed(_end(state.get("ExitCode"), oom=bool(state.get("OOMKilled"))))

    async def _healthy(self, url: str, seconds: float) -> None:
        client = OpencodeClient(url, self.spec.password, self._docker.http)
        try:
            async with asyncio.timeout(seconds):
                version = await self._version(client)
        except TimeoutError:
            raise await self._failed(f"it did not answer within {seconds:g} s") from None
        if version != VERSION:
            raise RunnerError(
                f"The agent engine in the runner's image has version {version}, but {VERSION} is needed. "
                f"Its operator has to build '{self._docker.settings.runner_image}' again.",
                reason="runner_version",
            )
        await client.check_config()

    async def _version(self, client: OpencodeClient) -> str:
        """As soon as it answers. Raises ``RunnerError`` as soon as its container has ended."""
        assert self._watched is not None
        ended, begun = self._watched.ended, time.monotonic()
        while not ended.is_set():
            # Short at first: a request in opencode's start-up race is never answered. Longer on a busy machine.
            patience_s = min(0.5 + (time.monotonic() - begun) / 10, 3.0)
            with contextlib.suppress(RunnerError):
                if version := await client.version(timeout_s=patience_s):
                    return version
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await ended.wait()
        raise await self._failed(_end(self._watched.exit_status, oom=self._watched.ending == "oom"))

    async def adopt(self) -> str:
        found = await self._docker.containers.find(self.spec.name)
        if found is None or not self._docker.containers.owns(found):
            raise self._not_adopted("it is not there")
        wanted = await self._wanted(await self._image_today(found))
        if found.labels.get(SPEC) != wanted.hash:
            raise self._not_adopted("it was made from another spec")
        if found.state not in ("running", "paused"):
            raise self._not_adopted(f"it is {found.state}")
        self._watch(found)
        try:
            url = await self._url(await self._docker.containers.run(found) if found.state == "paused" else found)
            await self._healthy(url, min(ADOPT_S, self._docker.settings.runner_health_timeout_s))
        except BaseException:
            self._forget()
            raise
        return url

    async def _image_today(self, found: Container) -> str:
        """Where the image is missing, none can be made: one that is there is as good as ever."""
        try:
            return await self._docker.containers.image_id(self._docker.settings.runner_image)
        except RunnerError as error:
            if error.reason != "runner_missing":
                raise
            return found.image

    def _not_adopted(self, why: str) -> RunnerError:
        return RunnerError(
            "Your workspace can't be taken up again. Send the message again; it starts afresh.",
            reason="runner_lost",
            detail=f"{self.spec.name} can't be adopted: {why}",
        )

    async def poll(self) -> int | None:
        return -1 if self._watched is None else self._watched.exit_status

    @property
    def ending(self) -> Ending | None:
        return None if self._watched is None else self._watched.ending

    @property
    def oom_count(self) -> int:
        """How often memory ran out in it."""
        return 0 if self._watched is None else self._watched.oom_count

    async def pause(self) -> None:
        await self._docker.containers.pause(self._id())

    async def resume(self) -> None:
        await self._docker.containers.resume(self._id())

    async def mend(self) -> None:
        await self._docker.networks.mend(self.spec.workspace_hash)

    async def has_strays(self) -> bool:
        return await self._docker.containers.processes(self._id()) > OWN_PROCESSES

    async def stop(self) -> None:
        """Who comes second waits for the removal, too: whoever starts next must not find the container still there.

        One that could not be removed is tried again by the next call.
        """
        self._left = self._forget() or self._left
        async with self._ending_it:
            if self._left is not None:
                await self._docker.containers.remove(self._left)
                self._left = None
                await self._leave_network()

    async def _undo(self) -> None:
        """Leaves nothing of a start that failed, not even a container whose making was given up."""
        container = self._forget()
        with contextlib.suppress(RunnerError, TimeoutError):
            async with asyncio.timeout(UNDO_S):
                await self._remove(container or self.spec.name)

    async def _remove(self, container: str) -> None:
        found = await self._docker.containers.find(container)
        if found is not None and self._docker.containers.owns(found):
            await self._docker.containers.remove(found.id)
        await self._leave_network()

    async def _leave_network(self) -> None:
        try:
            await self._docker.networks.remove_unused(self.spec.workspace_hash)
        except RunnerError as error:
            log.warning("the network of %s is left: %s", self.spec.name, error.detail)

    def _forget(self) -> str | None:
        """Its container's id."""
        watched, self._watched = self._watched, None
        if watched is None:
            return None
        self._docker.events.forget(watched.id)
        return watched.id

    def _id(self) -> str:
        if self._watched is None:
            raise self._not_adopted("it is not running")
        return self._watched.id

    async def _failed(self, why: str) -> RunnerError:
        tail = ""
        if self._watched is not None:
            with contextlib.suppress(RunnerError):
                tail = unveiled(self.spec, await self._docker.containers.logs(self._watched.id))
        return RunnerError(
            f"The agent engine did not start: {why}. "
            "Send the message again; 'open-persona doctor' looks for the cause.",
            detail=f"{self.spec.name}: {why}\n{tail}",
        )


def _end(status: object, *, oom: bool) -> str:
    return "it ran out of memory" if oom and status == KILLED else f"it ended with status {status}"


def unveiled(spec: RunnerSpec, text: str) -> str:
    """``text`` without the runner's own token and password."""
    for secret in (spec.token, spec.password):
        text = text.replace(secret.get_secret_value(), "•••") if secret.get_secret_value() else text
    return text
