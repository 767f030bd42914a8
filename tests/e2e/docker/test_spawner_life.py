"""The real spawner before the real Docker, as the sidecar uses it: through the SDK, a runner's whole life."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from docker.errors import APIError, NotFound

from tests.e2e.docker.engine import Engine
from tests.e2e.docker.spawner_rig import IMAGE, Json, Rig, eventually, plain_container, running_rig
from tests.spawner.bodies import SECRET

pytestmark = pytest.mark.real


@pytest.fixture
def rig(tmp_path: Path, engine: Engine) -> Iterator[Rig]:
    with running_rig(tmp_path, engine) as rig:
        yield rig


def make_network(rig: Rig) -> str:
    body = rig.network_body()
    made = rig.spawned.create_network(
        body["Name"],
        driver="bridge",
        options=body["Options"],
        ipam=body["IPAM"],
        check_duplicate=True,
        internal=True,
        labels=body["Labels"],
    )
    return str(made["Id"])


def make_runner(rig: Rig) -> str:
    made = rig.spawned.create_container_from_config(rig.body(), rig.name)
    rig.spawned.start(made["Id"])
    return str(made["Id"])


def status(rig: Rig) -> str:
    return str(rig.spawned.inspect_container(rig.name)["State"]["Status"])


@pytest.mark.requirement("spawner:life")
def test_a_runners_whole_life(rig: Rig) -> None:
    docker = rig.spawned
    assert docker.ping()
    assert docker.inspect_image(IMAGE)["Id"] == rig.docker.inspect_image(IMAGE)["Id"]
    network = make_network(rig)
    for service, alias in zip(rig.services, ("open-persona-sidecar", "open-persona-hub"), strict=True):
        docker.connect_container_to_network(service, network, aliases=[alias])
    members = docker.inspect_network(rig.network)["Containers"].values()
    assert {member["Name"] for member in members} == set(rig.services)
    alias = rig.docker.inspect_container(rig.services[0])["NetworkSettings"]["Networks"][rig.network]["Aliases"]
    assert "open-persona-sidecar" in alias

    runner = make_runner(rig)
    told = docker.inspect_container(rig.name)
    assert told["State"]["Running"]
    assert told["NetworkSettings"]["Networks"][rig.network]["IPAddress"]
    assert told["Config"]["Env"] == []
    assert SECRET not in json.dumps(told)
    assert f"OPEN_PERSONA_RUNNER_TOKEN={SECRET}" in rig.docker.inspect_container(runner)["Config"]["Env"]
    assert [one["Id"] for one in docker.containers(all=True, filters={"label": ["open-persona.runner=1"]})] == [runner]
    assert any("opencode serve" in " ".join(process) for process in docker.top(runner)["Processes"])
    eventually(lambda: b"listening" in docker.logs(rig.name, tail=20), "opencode listens", within_s=150)

    docker.pause(runner)
    assert status(rig) == "paused"
    docker.unpause(runner)
    assert status(rig) == "running"
    docker.stop(runner, timeout=5)
    assert status(rig) == "exited"
    docker.start(runner)
    docker.kill(runner)
    eventually(lambda: status(rig) == "exited", "it is killed")
    docker.remove_container(runner, force=True, v=True)
    with pytest.raises(NotFound):
        docker.inspect_container(rig.name)
    for service in rig.services:
        docker.disconnect_container_from_network(service, network, force=True)
    docker.remove_network(network)
    assert docker.networks() == []


@pytest.mark.requirement("spawner:create")
def test_the_container_that_docker_has_is_the_hardened_one(rig: Rig) -> None:
    make_network(rig)
    made = rig.docker.inspect_container(make_runner(rig))
    host, wanted = made["HostConfig"], rig.body()["HostConfig"]
    assert {name: host[name] for name in wanted if name != "Mounts"} == {
        name: value for name, value in wanted.items() if name not in ("Mounts", "RestartPolicy")
    } | {"RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}}
    assert not host["Privileged"]
    assert not host["CapAdd"]
    assert made["Config"]["User"] == "1000:1000"
    assert {(mount["Source"], mount["Destination"], not mount["RW"]) for mount in made["Mounts"]} == {
        (mount["Source"], mount["Target"], mount["ReadOnly"]) for mount in wanted["Mounts"]
    }


@pytest.mark.requirement("spawner:life")
def test_dockers_own_errors_come_through(rig: Rig) -> None:
    with pytest.raises(NotFound, match="network"):
        rig.spawned.create_container_from_config(rig.body(), rig.name)
    make_network(rig)
    with pytest.raises(APIError, match="already exists"):
        make_network(rig)
    runner = make_runner(rig)
    with pytest.raises(APIError, match="already in use") as conflict:
        rig.spawned.create_container_from_config(rig.body(), rig.name)
    assert conflict.value.status_code == 409
    rig.spawned.start(runner)
    with pytest.raises(APIError, match="not paused"):
        rig.spawned.unpause(runner)


@pytest.mark.requirement("spawner:life")
def test_one_name_is_made_once_however_many_ask(rig: Rig) -> None:
    make_network(rig)

    def ask(_: int) -> int:
        try:
            rig.client().create_container_from_config(rig.body(), rig.name)
        except APIError as error:
            return int(error.status_code or 0)
        return 201

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(ask, range(8))) == [201, *[409] * 7]


@pytest.mark.requirement("spawner:network")
def test_a_service_that_is_gone_can_still_be_disconnected(rig: Rig) -> None:
    network = make_network(rig)
    with pytest.raises(NotFound):
        rig.spawned.disconnect_container_from_network("open-persona-nobody", network, force=True)
    rig.docker.remove_container(rig.services[0], force=True)
    with pytest.raises(APIError) as told:
        rig.spawned.disconnect_container_from_network(rig.services[0], network, force=True)
    assert told.value.status_code != 403  # Docker's own answer: it is not connected


@pytest.mark.requirement("spawner:life")
@pytest.mark.requirement("spawner:ours-alone")
def test_events_of_our_containers_come_as_they_happen_and_again(rig: Rig) -> None:
    began = time.time()
    seen: list[Json] = []
    filters = {"type": ["container"], "event": ["create", "die", "destroy"], "label": ["open-persona.runner=1"]}
    client = rig.client(timeout=None)
    stream = client.events(since=f"{began:.9f}", filters=filters, decode=True)
    reader = threading.Thread(target=lambda: seen.extend(stream), daemon=True)
    reader.start()
    plain = plain_container(rig.docker, "opspawner-test-foreign-" + rig.sig)
    make_network(rig)
    runner = make_runner(rig)
    eventually(lambda: [event["Action"] for event in seen] == ["create"], "the event comes")
    rig.spawned.kill(runner)
    rig.spawned.remove_container(runner, force=True)
    rig.docker.remove_container(plain, force=True)
    eventually(lambda: [event["Action"] for event in seen] == ["create", "die", "destroy"], "all of it comes")
    again = list(client.events(since=f"{began:.9f}", until=f"{time.time():.9f}", decode=True))
    assert {event["Actor"]["ID"] for event in again} == {runner}
    assert {"create", "start", "kill", "die", "destroy"} <= {event["Action"] for event in again}
    stream.close()


@pytest.mark.requirement("spawner:load")
def test_event_streams_are_few_and_a_closed_one_makes_room(rig: Rig) -> None:
    def follow() -> requests.Response:
        client: requests.Session = rig.client(timeout=None)
        return client.get("http+docker://localhost/v1.41/events", stream=True, timeout=20)

    streams = [follow() for _ in range(8)]
    assert [stream.status_code for stream in streams] == [200] * 8
    refused = follow()
    assert (refused.status_code, list(refused.json())) == (503, ["message"])
    streams.pop().close()
    eventually(lambda: follow().status_code == 200, "there is room again")
