"""The sidecar's own code through the spawner, unchanged: only ``OPEN_PERSONA_DOCKER_HOST`` differs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sidecar.errors import RunnerError
from sidecar.opencode_client import OpencodeClient
from tests.e2e.docker.engine import Engine, docker
from tests.e2e.docker.runners import Deployment, running_mode, until
from tests.e2e.docker.spawner_rig import IMAGE, Rig, running_rig
from tests.spawner.bodies import SIG

pytestmark = pytest.mark.real


@pytest.fixture
def rig(tmp_path: Path, engine: Engine) -> Iterator[Rig]:
    with running_rig(tmp_path, engine) as rig:
        yield rig


@pytest.fixture
async def spawned(rig: Rig, engine: Engine) -> AsyncIterator[Deployment]:
    async with running_mode(
        rig.data,
        engine,
        runner_image=IMAGE,
        docker_host=f"unix://{rig.socket}",
        runner_services=",".join(rig.services),
        runner_subnets=rig.subnet,
    ) as deployment:
        yield deployment


@pytest.mark.requirement("spawner:sidecar")
async def test_a_runner_lives_and_is_adopted_through_the_spawner(rig: Rig, spawned: Deployment) -> None:
    runner = spawned.runner()
    url = await runner.start()
    client = OpencodeClient(url, runner.spec.password, spawned.http)
    assert await client.create_session("one", [])
    assert await runner.poll() is None
    assert not await runner.has_strays()
    await runner.mend()
    await runner.pause()
    (found,) = await spawned.mode.found()
    assert (found.name, found.state, found.current) == (runner.spec.name, "paused", True)
    assert "listening" in await spawned.mode.logs(runner.spec.name, 20)

    next_sidecar = await spawned.other_mode()
    adopted = next_sidecar.make(spawned.spec())
    assert await adopted.adopt() == url
    docker("kill", runner.spec.name)
    await until(lambda: adopted.ending is not None, 10)
    await next_sidecar.remove(runner.spec.name)
    await next_sidecar.tidy()
    assert (spawned.containers(), spawned.networks()) == ([], [])
    assert "refused" not in rig.log


@pytest.mark.requirement("spawner:sidecar")
async def test_many_at_once_and_two_users(rig: Rig, spawned: Deployment) -> None:
    runners = [spawned.runner("ann") for _ in range(4)] + [spawned.runner("ben") for _ in range(2)]
    urls = await asyncio.gather(*(runner.start() for runner in runners))
    assert len(set(urls)) == 2
    assert len(spawned.containers()) == len(spawned.networks()) == 2
    assert rig.stop() == 0
    assert (spawned.containers(), spawned.networks()) == ([], [])
    with pytest.raises(RunnerError):
        await spawned.runner("cid", SIG).start()
