"""Users' networks on real Docker: apart from each other, with their members, put right and removed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import RunnerError
from sidecar.runners.container_spec import network_name
from sidecar.runners.docker_engine import Engine as DockerEngine
from sidecar.runners.docker_networks import UserNetworks, subnets_of
from tests.e2e.docker.engine import Engine, docker
from tests.e2e.docker.runners import Deployment, changed, running_mode

pytestmark = pytest.mark.real
POOL = IPv4Network("10.214.8.0/24")


@contextmanager
def service_containers(engine: Engine, *names: str) -> Iterator[None]:
    """What stands for the sidecar's and the hub's containers: here only their membership counts."""
    try:
        for name in names:
            docker("run", "-d", "--init", "--name", name, "--entrypoint", "sleep", engine.debian, "600")
        yield
    finally:
        docker("rm", "-f", *names, check=False)


@pytest.fixture
async def deployment(engine: Engine, tmp_path: Path) -> AsyncIterator[Deployment]:
    async with running_mode(tmp_path, engine, runner_subnets=POOL) as running:
        yield running


def networks_of(deployment: Deployment, **changes: Any) -> UserNetworks:
    return UserNetworks(DockerEngine(), changed(deployment.settings, **changes))


def described(workspace: str) -> dict[str, Any]:
    (found,) = json.loads(docker("network", "inspect", network_name(workspace)))
    return dict(found)


@pytest.mark.requirement("network:apart")
async def test_each_user_has_an_internal_network_with_a_subnet_of_its_own(deployment: Deployment) -> None:
    networks = networks_of(deployment)
    users = [deployment.spec(f"user{n}").workspace_hash for n in range(6)]
    made = await asyncio.gather(*(networks.ensure(user) for user in (*users, *users)))
    assert len({one.id for one in made}) == len(users)
    subnets = [subnet for user in users for subnet in subnets_of(described(user))]
    assert len(subnets) == len(set(subnets)) == len(users)
    assert all(subnet.prefixlen == 28 and subnet.subnet_of(POOL) for subnet in subnets)
    first = described(users[0])
    assert first["Internal"] is True
    assert first["Options"] == {"com.docker.network.bridge.name": f"oprun-{users[0][:9]}"}
    await deployment.mode.tidy()
    assert deployment.networks() == []


@pytest.mark.requirement("network:members")
async def test_members_are_connected_by_their_names_and_put_right(deployment: Deployment, engine: Engine) -> None:
    workspace = deployment.spec().workspace_hash
    names = (f"test-sidecar-{workspace}", f"test-hub-{workspace}")
    networks = networks_of(deployment, runner_services=names)
    with service_containers(engine, *names):
        await networks.ensure(workspace)
        assert {one["Name"] for one in described(workspace)["Containers"].values()} == set(names)
        settings = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", names[1]))
        assert "open-persona-hub" in settings[network_name(workspace)]["Aliases"]

        docker("network", "disconnect", "-f", network_name(workspace), names[0])
        await networks.mend(workspace)
        assert {one["Name"] for one in described(workspace)["Containers"].values()} == set(names)

        with networks.held(workspace):
            await networks.remove_unused(workspace)
            assert deployment.networks() == [network_name(workspace)]
        await networks.remove_unused(workspace)
        assert deployment.networks() == []
        await networks.remove_unused(workspace)


@pytest.mark.requirement("network:moves")
async def test_a_network_outside_of_the_present_subnets_is_made_again(deployment: Deployment) -> None:
    workspace = deployment.spec().workspace_hash
    before = await networks_of(deployment).ensure(workspace)
    elsewhere = IPv4Network("10.214.9.0/24")
    after = await networks_of(deployment, runner_subnets=elsewhere).ensure(workspace)
    assert after.id != before.id
    assert after.gateway in elsewhere


@pytest.mark.requirement("network:full")
async def test_no_room_and_a_taken_name_are_told(deployment: Deployment) -> None:
    full = networks_of(deployment, runner_subnets=IPv4Network("10.214.8.0/28"))
    await full.ensure(deployment.spec("one").workspace_hash)
    with pytest.raises(RunnerError, match="OPEN_PERSONA_RUNNER_SUBNETS"):
        await full.ensure(deployment.spec("two").workspace_hash)
    name = network_name(deployment.spec("three").workspace_hash)
    docker("network", "create", "--subnet", "10.214.8.240/28", name)
    try:
        with pytest.raises(RunnerError, match=name):
            await full.ensure(deployment.spec("three").workspace_hash)
    finally:
        docker("network", "rm", name)
