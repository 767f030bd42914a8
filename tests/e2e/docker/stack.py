"""The stack of ``docker-compose.yml`` in real containers, under names and on ports of its own, and a client for it.

The model provider and Grants.gov are the fakes, in the test's own event loop, on the address of Docker's bridge, which
containers reach. ``running_stack`` leaves nothing behind: no container, network, volume or folder.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from deploy.first_run import add_to_env, make_secrets
from deploy.state import STATE_DIR, give, make_folders
from sidecar.identity import instance_id
from tests.e2e.docker.engine import base_image, build_runner
from tests.e2e.openwebui.installed import installed
from tests.e2e.process.deployment import API_KEY, SERVICE_KEY, Caller, free_port, probe_all
from tests.fakes.grants_gov import GrantsGovFake, running_fake
from tests.fakes.provider import FakeProvider, Script, running_provider

ROOT = Path(__file__).resolve().parents[3]
PLACE = Path("/var/tmp")
"""Where state folders are made: pytest's own may lie where a container can't pass."""
BASES = os.environ.get("NS", "open-persona-base")
IMAGES = os.environ.get("OPEN_PERSONA_IMAGES", "open-persona")
"""Checkouts whose tests run at once each need a name of their own."""
WITHOUT_WEBUI = ("open-persona-mcp", "open-persona-hub", "open-persona-spawner", "open-persona-sidecar")
WHOLE = (*WITHOUT_WEBUI, "open-persona-openwebui")
KEYS = {"OPEN_PERSONA_SIDECAR_API_KEY": API_KEY, "OPEN_PERSONA_SERVICE_KEY": SERVICE_KEY}
"""As in the other deployments of the tests. The token key is each stack's own: runners are told apart by it."""
PROVIDER_KEY = "provider-key-of-the-deployment"
SLOW_MACHINE = {"OPEN_PERSONA_RUNNER_START_TIMEOUT_S": "120", "OPEN_PERSONA_RUNNER_HEALTH_TIMEOUT_S": "240"}
"""Room for a runner's start where other tests take most of the processors."""

BUILD_S = 1800.0
UP_S = 900.0
CALL_S = 180.0


class CommandFailed(AssertionError):
    """A program did not end with 0; the text holds what it wrote."""


async def run(*command: str, env: Mapping[str, str] | None = None, within: float = CALL_S) -> str:
    """What a program writes on stdout. Raises ``CommandFailed`` with all of its output."""
    environment = {**os.environ, **(env or {})}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(within):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise CommandFailed(f"{' '.join(command)}: no end within {within:g} s") from None
    if process.returncode != 0:
        raise CommandFailed(f"{' '.join(command)}: {process.returncode}\n{out.decode()[-3000:]}{err.decode()[-6000:]}")
    return out.decode()


async def docker(*arguments: str, within: float = CALL_S) -> str:
    return await run("docker", *arguments, within=within)


async def _ids(kind: str, *filters: str) -> list[str]:
    """Ids of containers (``ps -a``), networks or volumes under these filters."""
    command = ["ps", "-a"] if kind == "container" else [kind, "ls"]
    options = [part for each in filters for part in ("--filter", each)]
    return (await docker(*command, "-q", *options)).split()


@contextmanager
def _alone() -> Iterator[None]:
    """One build at a time on this machine."""
    with (Path(tempfile.gettempdir()) / "open-persona-images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@cache
def _built(services: tuple[str, ...]) -> None:
    """The images of these services, from this checkout, on the stand-in bases; once for a session."""

    async def build() -> None:
        bases = ["deploy/make-base-images"]
        if "open-persona-openwebui" in services:
            installed()  # the base takes its packages from there
        else:
            bases.append("--without-open-webui")
        await run(*bases, within=BUILD_S)
        with tempfile.TemporaryDirectory(dir=PLACE) as scratch:
            environment = Path(scratch) / "env"
            add_to_env(environment, {**_settings(Path(scratch) / "state", "open-persona-build"), **_bases()})
            file = ("--env-file", str(environment))
            await run("docker", "compose", *file, "build", *services, env=BUILD, within=BUILD_S)

    with _alone():
        asyncio.run(build())


BUILD = {"DOCKER_BUILDKIT": "0"}
"""The builder that every Docker has."""


async def build_images(services: Sequence[str]) -> None:
    """See ``_built``; a test's event loop goes on meanwhile."""
    await asyncio.to_thread(_built, tuple(sorted(set(services) - {"open-persona-mcp"})))


def _runner_image() -> str:
    """The one that the fixture ``engine`` has made."""
    return build_runner(base_image("debian:bookworm"))


def _bases() -> dict[str, str]:
    return {
        "OPEN_PERSONA_DEBIAN_BASE": f"{BASES}/debian:bookworm",
        "OPEN_PERSONA_PYTHON_BASE": f"{BASES}/python:3.11",
        "OPEN_PERSONA_WEBUI_BASE": f"{BASES}/open-webui:0.12.4",
    }


def _settings(state: Path, prefix: str) -> dict[str, str]:
    return {
        "COMPOSE_PROJECT_NAME": prefix,
        "OPEN_PERSONA_PREFIX": prefix,
        "OPEN_PERSONA_IMAGES": IMAGES,
        STATE_DIR: str(state),
        "OPEN_PERSONA_DOCKER_GID": str(Path("/var/run/docker.sock").stat().st_gid),
    }


@dataclass
class Stack(Caller):
    """A running stack. ``state`` is its state folder; ``provider`` and ``grants`` are what it reaches of the world."""

    prefix: str
    state: Path
    env_file: Path
    ports: Mapping[str, int]
    provider: FakeProvider
    grants: GrantsGovFake
    client: httpx.AsyncClient
    files: list[Path] = field(default_factory=list)

    @property
    def url(self) -> str:  # type: ignore[override]
        """The sidecar, from the host."""
        return f"http://127.0.0.1:{self.ports['OPEN_PERSONA_SIDECAR_PORT']}"

    @property
    def hub_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['OPEN_PERSONA_HUB_PORT']}"

    @property
    def webui_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['OPEN_PERSONA_WEBUI_PORT']}"

    @property
    def home(self) -> Path:
        """The sidecar's ``OPEN_PERSONA_HOME``, the same path inside and outside."""
        return self.state / "data"

    @property
    def instance(self) -> str:
        """What the label ``open-persona.instance`` of its runners says."""
        return instance_id(SecretStr((self.state / "secrets" / "OPEN_PERSONA_TOKEN_KEY").read_text()))

    async def compose(self, *arguments: str, within: float = UP_S) -> str:
        """``docker compose …`` for this stack."""
        files = [part for file in (ROOT / "docker-compose.yml", *self.files) for part in ("-f", str(file))]
        return await run("docker", "compose", "--env-file", str(self.env_file), *files, *arguments, within=within)

    async def exec(self, service: str, *command: str, within: float = CALL_S) -> str:
        """What a command writes that runs in a service's container."""
        return await self.compose("exec", "-T", service, *command, within=within)

    def container(self, service: str) -> str:
        """The name of a service's container: ``sidecar``, ``hub``, ``mcp``, ``spawner``, ``openwebui``."""
        return f"{self.prefix}-{service.removeprefix('open-persona-')}"

    async def inspect(self, *containers: str) -> list[dict[str, Any]]:
        return list(json.loads(await docker("inspect", *containers)))

    async def logs(self, service: str) -> str:
        """All that a service's container wrote, on both streams."""
        return await run("sh", "-c", f"docker logs {self.container(service)} 2>&1")

    async def runners(self, *, running: bool = False) -> list[dict[str, Any]]:
        """The inspected containers of its runners, oldest first."""
        found = await _ids("container", f"label=open-persona.instance={self.instance}", "label=open-persona.runner=1")
        inspected = sorted(await self.inspect(*found), key=lambda each: str(each["Created"])) if found else []
        return [each for each in inspected if each["State"]["Running"] or not running]

    async def probe(self, *integrations: str) -> None:
        """The hub checks each integration now."""
        await probe_all(self.hub_url, integrations)


async def bridge_address() -> str:
    """The host's address on Docker's own bridge: the network's first, which older engines do not name."""
    subnet = await docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}")
    return str(IPv4Network(subnet.strip(), strict=False)[1])


@asynccontextmanager
async def running_stack(
    *,
    services: Sequence[str] = WITHOUT_WEBUI,
    script: Script = "hello",
    env: Mapping[str, str] | None = None,
    ports: Mapping[str, int] | None = None,
    files: Sequence[Path] = (),
    secret_files: Mapping[str, str] | None = None,
    subnets: str = "10.213.0.0/16",
    up: bool = True,
) -> AsyncIterator[Stack]:
    """The services, up and healthy; wants Docker and the runner's image (fixture ``engine``).

    ``env`` and ``secret_files`` are added to ``.env`` and to the secrets.
    Stacks that run at once need ``subnets`` of their own. With ``up=False`` nothing is started.
    """
    await build_images(services)
    prefix = f"optest{secrets.token_hex(3)}"
    state = PLACE / f"{prefix}-state"
    chosen = {f"OPEN_PERSONA_{name}_PORT": free_port() for name in ("SIDECAR", "HUB", "WEBUI")} | dict(ports or {})
    async with AsyncExitStack() as stack:
        host = await bridge_address()
        provider = await stack.enter_async_context(running_provider(script, host=host))
        grants = await stack.enter_async_context(running_fake(host=host))
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=120, trust_env=False))
        _prepare(state, {"OPEN_PERSONA_DEFAULT_COMPATIBLE_API_KEY": PROVIDER_KEY, **KEYS, **(secret_files or {})})
        stack.callback(shutil.rmtree, state, ignore_errors=True)
        settings = {
            **_settings(state, prefix),
            **{name: str(port) for name, port in chosen.items()},
            "OPEN_PERSONA_PROVIDERS": "compatible",
            "OPEN_PERSONA_COMPATIBLE_BASE_URL": provider.url,
            "OPEN_PERSONA_COMPATIBLE_MODELS": "m1,m2",
            "OPEN_PERSONA_GRANTS_GOV_BASE_URL": grants.url,
            "OPEN_PERSONA_RUNNER_IMAGE": await asyncio.to_thread(_runner_image),
            "OPEN_PERSONA_RUNNER_SUBNETS": subnets,
            **SLOW_MACHINE,
            **(env or {}),
        }
        env_file = state / "env"
        add_to_env(env_file, settings)
        running = Stack(prefix, state, env_file, chosen, provider, grants, client, list(files))
        stack.push_async_callback(_removed, running)
        if up:
            await _up(running, services)
        yield running


def _prepare(state: Path, held: Mapping[str, str]) -> None:
    make_folders(state)
    make_secrets(state, {})
    for name, value in held.items():
        (state / "secrets" / name).write_text(value)
        give(state / "secrets" / name, 0o600)


async def _up(stack: Stack, services: Sequence[str]) -> None:
    try:
        await stack.compose("up", "-d", "--wait", "--no-build", *services)
    except CommandFailed as error:
        told = await run("sh", "-c", f"{_compose_logs(stack)} 2>&1 | tail -n 60")
        raise CommandFailed(f"{error}\n{told}") from None


def _compose_logs(stack: Stack) -> str:
    return f"docker compose --env-file {stack.env_file} logs --no-color --tail 20"


async def _removed(stack: Stack) -> None:
    """Takes all of it away, also what a killed spawner left; fails if something stays."""
    await stack.compose("--profile", "demo", "down", "-v", "--remove-orphans", "-t", "20", within=180)
    mine = f"label=open-persona.instance={stack.instance}"
    if left := await _ids("container", mine):
        await docker("rm", "-f", *left)
    if left := await _ids("network", mine):
        await docker("network", "rm", *left)
