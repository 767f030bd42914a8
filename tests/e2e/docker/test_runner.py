"""Runners in containers with the real opencode: started, found again, paused, lost and stopped."""

from __future__ import annotations

import asyncio
import time

import pytest

from sidecar.errors import RunnerError
from sidecar.opencode_client import OpencodeClient
from sidecar.runners.base import FoundRunner
from tests.e2e.docker.engine import docker
from tests.e2e.docker.faulty_daemon import faulty_daemon
from tests.e2e.docker.runners import Deployment, changed, opened_mode, until

pytestmark = pytest.mark.real


@pytest.mark.requirement("runner:life")
@pytest.mark.requirement("runner:pause")
async def test_a_runner_starts_answers_pauses_and_leaves_nothing(deployment: Deployment) -> None:
    runner = deployment.runner()
    url = await runner.start()
    client = OpencodeClient(url, runner.spec.password, deployment.http)
    assert await client.create_session("one", [])
    assert await runner.poll() is None
    assert runner.ending is None
    assert not await runner.has_strays()
    docker("exec", "-d", runner.spec.name, "sleep", "60")
    assert await runner.has_strays()

    await runner.pause()
    (found,) = await deployment.mode.found()
    spec = runner.spec
    assert found == FoundRunner(spec.name, spec.workspace_hash, spec.key_sig, "paused", current=True)
    begun = time.monotonic()
    await runner.resume()
    await client.version(timeout_s=5)
    assert time.monotonic() - begun < 2
    await runner.resume()

    owner = docker("inspect", "--format", "{{.Config.User}}", spec.name)
    assert not owner.startswith(("0", "root"))
    assert "listening" in await deployment.mode.logs(spec.name, 20)
    await runner.stop()
    await runner.stop()
    assert runner.ending is None
    assert (deployment.containers(), deployment.networks()) == ([], [])


@pytest.mark.requirement("runner:one-of-many")
@pytest.mark.requirement("runner:adopt")
async def test_eight_starts_make_one_container_which_the_next_sidecar_adopts(deployment: Deployment) -> None:
    runners = [deployment.runner() for _ in range(8)]
    urls = await asyncio.gather(*(runner.start() for runner in runners))
    assert len(set(urls)) == 1
    (container,) = deployment.containers()
    await runners[0].pause()

    other = await deployment.other_mode(runner_memory_mb=900)
    assert [one.current for one in await other.found()] == [False]
    with pytest.raises(RunnerError) as refused:
        await other.make(deployment.spec()).adopt()
    assert "another spec" in refused.value.detail

    same = await deployment.other_mode()
    adopted = same.make(deployment.spec())
    assert await adopted.adopt() == urls[0]
    assert await adopted.poll() is None
    assert deployment.containers() == [container]

    with pytest.raises(RunnerError) as missing:
        await same.make(deployment.spec("nobody")).adopt()
    assert "not there" in missing.value.detail
    await same.remove(deployment.spec().name)
    await until(lambda: adopted.ending == "removed", 5)
    assert await adopted.poll() is not None
    await same.tidy()
    assert (deployment.containers(), deployment.networks()) == ([], [])


@pytest.mark.requirement("runner:one-at-a-time")
async def test_who_ends_a_runner_that_is_being_ended_returns_when_it_is_gone(deployment: Deployment) -> None:
    runner = deployment.runner()
    await runner.start()
    first = asyncio.create_task(runner.stop())
    await until(runner._ending_it.locked, 5)
    second = asyncio.create_task(runner.stop())
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert deployment.containers() == []
    assert (await asyncio.gather(first, return_exceptions=True))[0] is not None


@pytest.mark.requirement("runner:oom-told")
async def test_memory_that_runs_out_is_told_though_the_runner_lives(deployment: Deployment) -> None:
    runner = deployment.runner()
    told = asyncio.Event()
    runner.on_oom = told.set
    await runner.start()
    docker("exec", "-d", runner.spec.name, "tail", "/dev/zero")
    async with asyncio.timeout(10):
        await told.wait()
    assert runner.oom_count >= 1
    if await runner.poll() is not None:
        assert runner.ending == "oom"


@pytest.mark.requirement("runner:events-lost")
async def test_what_happens_while_the_daemon_cannot_be_asked_is_found_afterwards(deployment: Deployment) -> None:
    async with faulty_daemon(deployment.settings.home / "docker.sock") as daemon:
        settings = changed(deployment.settings, docker_host=daemon.host)
        async with opened_mode(settings, deployment.http) as mode:
            runner = mode.make(deployment.spec())
            await runner.start()
            await daemon.down()
            docker("kill", runner.spec.name)
            assert await runner.poll() is None
            await daemon.up()
            await until(lambda: runner.ending is not None, 10)
            assert (await runner.poll(), runner.ending) == (137, "exited")
            await runner.stop()
            assert deployment.containers() == []
