"""A deployment's runner mode on real Docker, with names and labels that no other test shares."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr

from sidecar.identity import instance_id, runner_name, runner_password, runner_token, workspace_hash
from sidecar.runners.base import RunnerSpec
from sidecar.runners.docker import DockerMode
from sidecar.runners.docker_runner import DockerRunner
from sidecar.settings import Settings
from tests.e2e.docker.engine import Engine, docker

SIG = "01234567"
BOOT_S = 120
"""What opencode may take on a machine where other tests run too."""
CONFIG = '{"autoupdate": false, "share": "disabled"}'


@dataclass
class Deployment:
    """``settings`` are those of its first mode. Users' ids are its own, so that networks never share a name."""

    settings: Settings
    mode: DockerMode
    engine: Engine
    http: aiohttp.ClientSession
    _stack: AsyncExitStack
    _tag: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def label(self) -> str:
        return f"open-persona.instance={instance_id(self.settings.token_key)}"

    def spec(self, user: str = "ann", sig: str = SIG) -> RunnerSpec:
        workspace = workspace_hash(f"{user}-{self._tag}")
        name, key, home = runner_name(workspace, sig), self.settings.token_key, self.settings.home
        return RunnerSpec(
            name=name,
            workspace_hash=workspace,
            key_sig=sig,
            workspace=home / "workspaces" / workspace,
            private=home / "runners" / workspace / sig,
            config_text=CONFIG,
            token=runner_token(key, name),
            password=runner_password(key, name),
        )

    def runner(self, user: str = "ann", sig: str = SIG) -> DockerRunner:
        return self.mode.make(self.spec(user, sig))

    async def other_mode(self, **changes: Any) -> DockerMode:
        """Another mode of the same deployment, as after a restart of the sidecar."""
        return await self._stack.enter_async_context(opened_mode(changed(self.settings, **changes), self.http))

    def containers(self) -> list[str]:
        """Ids of all of this deployment's, whatever their state."""
        return docker("ps", "-aq", "--no-trunc", "--filter", f"label={self.label}").split()

    def networks(self) -> list[str]:
        return docker("network", "ls", "--filter", f"label={self.label}", "--format", "{{.Name}}").split()


@dataclass(frozen=True)
class StandIns:
    """Images whose ``opencode`` says one line and then ends, sleeps, or takes all memory."""

    dies: str
    sleeps: str
    eats: str


@contextmanager
def stand_in_images(engine: Engine) -> Iterator[StandIns]:
    commands = {"dies": "exit 3", "sleeps": "exec sleep 600", "eats": "exec tail /dev/zero"}
    names = {kind: f"open-persona-test-{kind}:{os.getpid()}" for kind in commands}
    try:
        for kind, command in commands.items():
            build(
                names[kind], engine.debian, f"#!/bin/sh\necho planted: {kind} as $OPENCODE_SERVER_PASSWORD\n{command}\n"
            )
        yield StandIns(**names)
    finally:
        docker("image", "rm", "-f", *names.values(), check=False)


def build(image: str, base: str, opencode: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "opencode"
        program.write_text(opencode)
        program.chmod(0o755)
        (Path(folder) / "Dockerfile").write_text(f"FROM {base}\nCOPY opencode /usr/local/bin/opencode\n")
        docker("build", "-q", "-t", image, folder)


def changed(settings: Settings, **changes: Any) -> Settings:
    return Settings(**{**settings.model_dump(), **changes})


@asynccontextmanager
async def opened_mode(settings: Settings, http: aiohttp.ClientSession) -> AsyncIterator[DockerMode]:
    mode = DockerMode(settings, http)
    await mode.open()
    try:
        yield mode
    finally:
        await mode.close()


@asynccontextmanager
async def running_mode(home: Path, engine: Engine, **changes: Any) -> AsyncIterator[Deployment]:
    given: dict[str, Any] = {"token_key": SecretStr(secrets.token_hex(16)), "runner_image": engine.runner, **changes}
    settings = Settings(home=home, runner_mode="docker", **{"runner_health_timeout_s": BOOT_S, **given})
    async with AsyncExitStack() as stack, aiohttp.ClientSession() as http:
        mode = await stack.enter_async_context(opened_mode(settings, http))
        deployment = Deployment(settings, mode, engine, http, stack)
        try:
            yield deployment
        finally:
            remove_all(deployment.label)


def remove_all(label: str) -> None:
    """Every container and network that bears the label."""
    if found := docker("ps", "-aq", "--filter", f"label={label}").split():
        docker("rm", "-f", "-v", *found, check=False)
    for network in docker("network", "ls", "-q", "--filter", f"label={label}").split():
        members = docker("network", "inspect", "--format", "{{range .Containers}}{{.Name}} {{end}}", network)
        for member in members.split():
            docker("network", "disconnect", "-f", network, member, check=False)
        docker("network", "rm", network, check=False)


async def until(holds: Callable[[], Awaitable[bool] | bool], within_s: float) -> None:
    """Raises ``TimeoutError`` unless it holds in time."""
    async with asyncio.timeout(within_s):
        while True:
            asked = holds()
            if asked if isinstance(asked, bool) else await asked:
                return
            await asyncio.sleep(0.02)
