"""What is asked of Docker about containers, each call with the answers that mean success.

A name is the lock: of several that make one container, one succeeds. Whose a container is, its labels say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from docker import APIClient

from sidecar.cleanup import complete
from sidecar.errors import RunnerError
from sidecar.runners.container_spec import INSTANCE, RUNNER, SPEC, ContainerSpec
from sidecar.runners.docker_engine import Engine, EngineError

log = logging.getLogger(__name__)
GRACE_S: Final = 3
GONE_S: Final = 10.0
CLAIMS: Final = 50
LOG_LINES: Final = 40


@dataclass(frozen=True)
class Container:
    """One as Docker describes it. ``state`` is ``created``, ``running``, ``paused`` or ``exited``."""

    id: str
    name: str
    state: str
    labels: Mapping[str, str]
    raw: Mapping[str, Any]

    @property
    def image(self) -> str:
        """The id of the image that it was made from."""
        return str(self.raw.get("ImageID") or self.raw.get("Image") or "")

    def address(self, network: str) -> str:
        """Its IP address there; empty while it does not run."""
        networks = (self.raw.get("NetworkSettings") or {}).get("Networks") or {}
        return str((networks.get(network) or {}).get("IPAddress") or "")


class Containers:
    """The containers of one deployment, told apart from all others by their labels."""

    def __init__(self, engine: Engine, instance: str) -> None:
        self._engine = engine
        self._instance = instance

    def owns(self, container: Container) -> bool:
        return container.labels.get(RUNNER) == "1" and container.labels.get(INSTANCE) == self._instance

    async def image_id(self, image: str) -> str:
        """Raises ``RunnerError`` with reason ``runner_missing`` when there is no such image."""
        try:
            found = await self._engine.call("inspect image", lambda docker: docker.inspect_image(image))
        except EngineError as error:
            if error.gone:
                raise _image_missing(image, error) from None
            raise
        return str(found["Id"])

    async def find(self, name: str) -> Container | None:
        """By name or id, whoever made it; None also while it is being removed."""
        try:
            raw = await self._engine.call("inspect", lambda docker: docker.inspect_container(name))
        except EngineError as error:
            if error.gone:
                return None
            raise
        state = str(raw["State"]["Status"])
        labels = dict(raw["Config"].get("Labels") or {})
        found = Container(str(raw["Id"]), str(raw["Name"]).lstrip("/"), state, labels, raw)
        return None if state in ("removing", "dead") else found

    async def list(self) -> list[Container]:
        """All of this deployment, in one call; ``raw`` is shorter than that of ``find``."""
        filters = {"label": [f"{RUNNER}=1", f"{INSTANCE}={self._instance}"]}
        found = await self._engine.call("list", lambda docker: docker.containers(all=True, filters=filters))
        listed = [
            Container(str(one["Id"]), one["Names"][0].lstrip("/"), str(one["State"]), one.get("Labels") or {}, one)
            for one in found
            if one.get("Names")
        ]
        return [one for one in listed if one.state not in ("removing", "dead")]

    async def claim(self, wanted: ContainerSpec) -> Container:
        """The container of that spec: made now, or the one that has the name and is the same.

        One of ours that is another is removed first. Raises ``RunnerError``.
        """
        for _ in range(CLAIMS):
            made = await complete(self._create(wanted))
            found = await self.find(made or wanted.name)
            if found is None:
                await asyncio.sleep(GONE_S / CLAIMS)
                continue
            if made is not None:
                return found
            if not self.owns(found):
                raise _name_taken(found)
            if found.labels.get(SPEC) == wanted.hash and found.state in ("created", "running", "paused"):
                return found
            await self.remove(found.id)
        raise RunnerError(
            "Your workspace can't be started: its container keeps vanishing. Send the message again.",
            detail=f"{wanted.name}: the name is taken, and nothing is there",
        )

    async def _create(self, wanted: ContainerSpec) -> str | None:
        """Its id; None when the name is taken."""
        try:
            made = await self._engine.call(
                "create", lambda docker: docker.create_container_from_config(dict(wanted.body), wanted.name)
            )
        except EngineError as error:
            if error.conflicts:
                return None
            if error.gone:
                raise _image_missing(str(wanted.body["Image"]), error) from None
            raise
        return str(made["Id"])

    async def run(self, container: Container) -> Container:
        """Starts or resumes it, and returns it as it is then."""
        if container.state == "paused":
            await self.resume(container.id)
        else:
            await self._engine.call("start", lambda docker: docker.start(container.id))
        return await self.find(container.id) or container

    async def pause(self, container: str) -> None:
        """On a busy machine the kernel does not always freeze all its processes at the first try."""
        for last in (False, False, True):
            try:
                await self._unless("already paused", "pause", lambda docker: docker.pause(container))
            except EngineError as error:
                if last or "unable to freeze" not in error.detail:
                    raise
                await asyncio.sleep(0.2)
            else:
                return

    async def resume(self, container: str) -> None:
        await self._unless("is not paused", "unpause", lambda docker: docker.unpause(container))

    async def _unless(self, words: str, what: str, ask: Any) -> None:
        try:
            await self._engine.call(what, ask)
        except EngineError as error:
            if words not in error.detail:
                raise

    async def remove(self, container: str) -> None:
        """Ends it, within its grace, and removes it. No error when it is gone, or others remove it just now."""
        try:
            await self._engine.call("stop", lambda docker: docker.stop(container, timeout=GRACE_S), extra_s=GRACE_S)
        except EngineError as error:
            if error.gone:
                return
            log.warning("container %s: %s", container[:12], error.detail)
        try:
            await self._engine.call("remove", lambda docker: docker.remove_container(container, v=True, force=True))
        except EngineError as error:
            if error.conflicts:
                await self._wait_until_gone(container)
            elif not error.gone:
                raise

    async def _wait_until_gone(self, container: str) -> None:
        try:
            async with asyncio.timeout(GONE_S):
                while await self.find(container) is not None:  # noqa: ASYNC110 - others remove it
                    await asyncio.sleep(0.05)
        except TimeoutError:
            log.warning("container %s is still there %g s after its removal", container[:12], GONE_S)

    async def logs(self, container: str, lines: int = LOG_LINES) -> str:
        def ask(docker: APIClient) -> bytes:
            return bytes(docker.logs(container, stdout=True, stderr=True, tail=lines))

        return (await self._engine.call("logs", ask)).decode(errors="replace")

    async def processes(self, container: str) -> int:
        """How many run in it, its init among them."""
        found = await self._engine.call("top", lambda docker: docker.top(container))
        return len(found.get("Processes") or ())


def _image_missing(image: str, error: EngineError) -> RunnerError:
    return RunnerError(
        f"The runner's image '{image}' is missing on this machine. Its operator makes it in the project's folder with "
        f"'docker build -t {image} -f deploy/runner/Dockerfile .', or names another in OPEN_PERSONA_RUNNER_IMAGE.",
        reason="runner_missing",
        detail=error.detail,
    )


def _name_taken(found: Container) -> RunnerError:
    return RunnerError(
        "Your workspace can't be started: something else has its container's name. "
        f"Its operator has to look at the container '{found.name}' and remove or rename it.",
        detail=f"container {found.name} ({found.id[:12]}) does not bear this deployment's labels",
    )
