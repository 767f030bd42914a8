"""The spawner's image, built as the checkout says and run as compose runs it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.docker.engine import Engine, base_image
from tests.e2e.docker.spawner_rig import DOCKER, MARK, ROOT, Rig, eventually, running_rig
from tests.spawner.bodies import make_folders

pytestmark = pytest.mark.real
IMAGE = "opspawner-test-image:latest"


@pytest.fixture
def rig(tmp_path: Path, engine: Engine) -> Iterator[Rig]:
    with running_rig(tmp_path, engine) as rig:
        rig.kill()
        rig.socket.unlink()  # the dead spawner's, and root's
        yield rig


@pytest.mark.requirement("spawner:image")
def test_the_image_serves_as_nobody_special_and_ends_well(rig: Rig) -> None:
    command = ["docker", "build", "-q", "-f", "spawner/Dockerfile", "-t", IMAGE]
    command += ["--build-arg", f"BASE_IMAGE={base_image('python:3.11')}", "."]
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300)

    os.chown(rig.folder, 1000, 1000)
    for folder in rig.data.parents:  # pytest's folders are root's alone
        if folder.is_relative_to(rig.folder.parents[1]):
            folder.chmod(0o755)
    make_folders(rig.data, workspace=rig.workspace, sig=rig.sig, owner=1000)
    variables = {**rig.environment, "OPEN_PERSONA_SPAWNER_SOCKET": "/run/open-persona/docker.sock"}
    variables.pop("PATH")
    made = rig.docker.create_container_from_config(
        {
            "Image": IMAGE,
            "Env": [f"{name}={value}" for name, value in variables.items()],
            "Labels": {MARK: "1"},
            "HostConfig": {
                "NetworkMode": "none",
                "ReadonlyRootfs": True,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "GroupAdd": [str(Path(DOCKER).stat().st_gid)],
                "Mounts": [
                    {"Type": "bind", "Source": DOCKER, "Target": DOCKER},
                    {"Type": "bind", "Source": str(rig.data), "Target": str(rig.data), "ReadOnly": True},
                    {"Type": "bind", "Source": str(rig.folder), "Target": "/run/open-persona"},
                ],
            },
        },
        f"{MARK}-{rig.sig}-spawner",
    )["Id"]
    rig.docker.start(made)

    def health() -> str:
        return str(rig.docker.inspect_container(made)["State"].get("Health", {}).get("Status"))

    eventually(lambda: health() == "healthy", "the container is healthy", within_s=60)
    assert rig.docker.inspect_container(made)["Config"]["User"] == "1000:1000"
    body = rig.network_body()
    answer = rig.spawned.post("http+docker://localhost/v1.41/networks/create", json=body)
    assert answer.status_code == 201, answer.text
    runner = rig.spawned.create_container_from_config(rig.body(), rig.name)["Id"]
    rig.spawned.start(runner)
    assert rig.docker.inspect_container(runner)["State"]["Running"]

    rig.docker.stop(made, timeout=30)
    assert rig.docker.inspect_container(made)["State"]["ExitCode"] == 0
    assert not rig.exists(runner)
    assert rig.docker.networks(names=[rig.network]) == []
