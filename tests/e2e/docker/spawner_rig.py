"""The real spawner as a process, before the real Docker; and a direct way to Docker that tells what is there."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from docker import APIClient
from docker.errors import APIError, NotFound

from tests.e2e.docker.engine import Engine
from tests.spawner.bodies import container_body, make_folders, network_body

ROOT: Final = Path(__file__).resolve().parents[3]
DOCKER: Final = "/var/run/docker.sock"
IMAGE: Final = "opspawner-test-runner:base"
MARK: Final = "opspawner-test"
UID: Final = 1000
Json = dict[str, Any]


@dataclass
class Rig:
    """``docker`` goes straight to Docker, ``spawned`` through the spawner. ``workspace`` is one user's, made up."""

    folder: Path
    docker: APIClient
    services: tuple[str, str]
    subnet: str
    workspace: str = field(default_factory=lambda: secrets.token_hex(8))
    sig: str = field(default_factory=lambda: secrets.token_hex(4))
    docker_socket: str = DOCKER
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    @property
    def log(self) -> str:
        return (self.folder / "spawner.log").read_text()

    @property
    def name(self) -> str:
        return f"open-persona-runner-{self.workspace}-{self.sig}"

    @property
    def network(self) -> str:
        return f"open-persona-net-{self.workspace}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "OPEN_PERSONA_SPAWNER_SOCKET": str(self.socket),
            "OPEN_PERSONA_SPAWNER_DOCKER_SOCKET": self.docker_socket,
            "OPEN_PERSONA_DATA_DIR": str(self.data),
            "OPEN_PERSONA_RUNNER_IMAGE": IMAGE,
            "OPEN_PERSONA_RUNNER_SUBNETS": self.subnet,
            "OPEN_PERSONA_RUNNER_SERVICES": ",".join(self.services),
        }

    @cached_property
    def spawned(self) -> APIClient:
        return self.client()

    def client(self, *, timeout: float | None = 90) -> APIClient:
        return APIClient(f"unix://{self.socket}", version="auto", timeout=timeout)

    def body(self) -> Json:
        return container_body(self.data, workspace=self.workspace, sig=self.sig, image=IMAGE)

    def network_body(self) -> Json:
        return network_body(workspace=self.workspace, subnet=self.subnet.replace("/24", "/28"))

    def exists(self, container: str) -> bool:
        return any(one["Id"] == container for one in self.docker.containers(all=True))

    def start(self) -> None:
        with (self.folder / "spawner.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "spawner"], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        eventually(lambda: self.healthcheck() == 0, "the spawner answers", within_s=20)

    def healthcheck(self) -> int:
        command = [sys.executable, "-m", "spawner", "--healthcheck"]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, timeout=20, capture_output=True, check=False)
        return done.returncode

    def stop(self) -> int:
        """Tells it to stop; its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def world(self) -> tuple[frozenset[str], frozenset[str]]:
        """Every container and network that has to do with these tests, by id; neighbours' tests come and go."""
        mine = (self.workspace, MARK, str(self.data))
        containers = self.docker.containers(all=True)
        networks = self.docker.networks()
        return (
            frozenset(one["Id"] for one in containers if any(word in str(one) for word in mine)),
            frozenset(one["Id"] for one in networks if any(word in str(one) for word in mine)),
        )


def eventually(condition: Callable[[], object], what: str, *, within_s: float = 15) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s:g} s: {what}"
        time.sleep(0.05)


def plain_container(docker: APIClient, name: str) -> str:
    """A container that the spawner has nothing to do with."""
    config = docker.create_container_config(IMAGE, ["sleep", "600"], labels={MARK: "1"})
    made = docker.create_container_from_config({**config, "HostConfig": {"Init": True}}, name)
    docker.start(made["Id"])
    return str(made["Id"])


@contextmanager
def running_rig(folder: Path, engine: Engine) -> Iterator[Rig]:
    """A spawner that answers, and at the end nothing left of it or of what was made through it."""
    docker = APIClient(f"unix://{DOCKER}", version="auto", timeout=60)
    docker.tag(engine.runner, *IMAGE.split(":"))
    tail = secrets.token_hex(3)
    services = (f"{MARK}-{tail}-sidecar", f"{MARK}-{tail}-hub")
    rig = Rig(folder, docker, services, f"10.214.{secrets.randbelow(256)}.0/24")
    rig.data.mkdir()
    make_folders(rig.data, workspace=rig.workspace, sig=rig.sig, owner=UID)
    try:
        for service in services:
            plain_container(docker, service)
        rig.start()
        yield rig
    finally:
        rig.kill()
        _clean(rig)


def _clean(rig: Rig) -> None:
    containers, networks = rig.world()
    for container in containers:
        with suppress(NotFound):
            rig.docker.remove_container(container, force=True, v=True)
    for network in networks:
        with suppress(APIError):
            rig.docker.remove_network(network)
    rig.docker.close()
