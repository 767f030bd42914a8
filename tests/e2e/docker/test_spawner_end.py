"""How the spawner ends: told to stop it takes down what it owns, and a dead one's successor owns it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.errors import APIError, NotFound

from tests.e2e.docker.engine import Engine
from tests.e2e.docker.spawner_relay import relay
from tests.e2e.docker.spawner_rig import DOCKER, Rig, plain_container, running_rig
from tests.e2e.docker.test_spawner_life import make_network, make_runner
from tests.spawner.bodies import make_folders

pytestmark = pytest.mark.real


@pytest.fixture
def rig(tmp_path: Path, engine: Engine) -> Iterator[Rig]:
    with running_rig(tmp_path, engine) as rig:
        yield rig


@pytest.mark.requirement("spawner:sweep")
def test_told_to_stop_it_removes_what_it_made_and_nothing_else(rig: Rig) -> None:
    network = make_network(rig)
    rig.spawned.connect_container_to_network(rig.services[0], network, aliases=["open-persona-sidecar"])
    make_runner(rig)
    for sig in ("aaaaaaa1", "aaaaaaa2", "aaaaaaa3"):  # one runs, one is paused, one has not started
        make_folders(rig.data, workspace=rig.workspace, sig=sig, owner=1000)
        rig.sig = sig
        made = rig.spawned.create_container_from_config(rig.body(), rig.name)["Id"]
        if sig != "aaaaaaa3":
            rig.spawned.start(made)
        if sig == "aaaaaaa2":
            pause(rig, made)
    foreign = plain_container(rig.docker, f"open-persona-runner-{rig.workspace}-ffffffff")
    stream = rig.client(timeout=None).events(decode=True)
    threading.Thread(target=lambda: list(stream), daemon=True).start()

    began = time.monotonic()
    assert rig.stop() == 0
    assert time.monotonic() - began < 20
    assert not rig.socket.exists()
    left = {name for one in rig.docker.containers(all=True) for name in one["Names"] if rig.workspace in str(one)}
    assert left == {f"/open-persona-runner-{rig.workspace}-ffffffff"}
    assert rig.docker.networks(names=[rig.network]) == []
    for container in (foreign, *rig.services):
        assert rig.docker.inspect_container(container)["State"]["Running"]


def pause(rig: Rig, container: str) -> None:
    """runc gives up on a group that is busy for too long: then it is asked again."""
    deadline = time.monotonic() + 20
    while True:
        try:
            rig.spawned.pause(container)
            return
        except APIError as error:
            if "unable to freeze" not in str(error) or time.monotonic() > deadline:
                raise


@pytest.mark.requirement("spawner:crash")
def test_a_dead_spawner_leaves_its_runners_and_the_next_one_owns_them(rig: Rig) -> None:
    make_network(rig)
    runner = make_runner(rig)
    rig.kill()
    assert rig.docker.inspect_container(runner)["State"]["Running"]
    rig.start()
    assert rig.client().inspect_container(rig.name)["Id"] == runner
    assert rig.stop() == 0
    with pytest.raises(NotFound):
        rig.docker.inspect_container(runner)


@pytest.mark.requirement("spawner:folders")
def test_a_folder_that_is_a_link_when_docker_mounts_is_refused(rig: Rig) -> None:
    make_network(rig)
    made = rig.spawned.create_container_from_config(rig.body(), rig.name)["Id"]
    workspace = rig.data / "workspaces" / rig.workspace
    workspace.rename(rig.data / "kept")
    workspace.symlink_to("/")
    answer = rig.spawned.post(f"http+docker://localhost/v1.41/containers/{made}/start", timeout=20)
    assert answer.status_code == 403
    assert rig.docker.inspect_container(made)["State"]["Status"] == "created"


@pytest.mark.requirement("spawner:folders")
@pytest.mark.parametrize("place", ["workspaces/{workspace}", "runners/{workspace}/{sig}/data", "workspaces"])
def test_a_folder_that_is_exchanged_while_docker_mounts_ends_the_runner(place: str, rig: Rig) -> None:
    """A link is in the folder's place in no other moment than that: before and after all is as it should be."""
    folder = rig.data / place.format(workspace=rig.workspace, sig=rig.sig)
    kept, bait = rig.data / "kept", rig.data / "bait"
    (bait / rig.workspace).mkdir(parents=True)

    def exchange() -> None:
        folder.rename(kept)
        folder.symlink_to(bait)

    def restore() -> None:
        folder.unlink()
        kept.rename(folder)

    rig.kill()
    rig.docker_socket = str(rig.folder / "relay.sock")
    with relay(Path(rig.docker_socket), DOCKER, exchange, restore):
        rig.start()
        make_network(rig)
        made = rig.spawned.create_container_from_config(rig.body(), rig.name)["Id"]
        answer = rig.spawned.post(f"http+docker://localhost/v1.41/containers/{made}/start")
        assert (answer.status_code, "exchanged" in answer.text) == (403, True)
        assert not rig.exists(made)
    assert folder.is_dir()
    assert not folder.is_symlink()


@pytest.mark.requirement("spawner:settings")
def test_a_spawner_that_cannot_start_says_why_in_one_line(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "OPEN_PERSONA_DATA_DIR": str(tmp_path / "none")}
    done = subprocess.run(
        [sys.executable, "-m", "spawner"], env=environment, capture_output=True, timeout=20, check=False
    )
    assert done.returncode == 2
    assert done.stderr.decode().count("\n") == 1
    assert "OPEN_PERSONA_DATA_DIR" in done.stderr.decode()
