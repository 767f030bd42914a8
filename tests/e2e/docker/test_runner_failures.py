"""A runner's start that fails, and a Docker that does: what is said, how soon, and that nothing is left."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import RunnerError
from sidecar.runners import docker_engine
from tests.e2e.docker.engine import Engine, docker
from tests.e2e.docker.faulty_daemon import faulty_daemon
from tests.e2e.docker.runners import Deployment, StandIns, until

pytestmark = pytest.mark.real


async def failed_start(deployment: Deployment, **changes: Any) -> tuple[RunnerError, float]:
    """The error and how long it took."""
    mode = await deployment.other_mode(**changes)
    begun = time.monotonic()
    with pytest.raises(RunnerError) as failed:
        await mode.make(deployment.spec()).start()
    return failed.value, time.monotonic() - begun


@pytest.mark.requirement("runner:dies")
async def test_one_that_dies_is_told_at_once_with_its_last_words(deployment: Deployment, stand_ins: StandIns) -> None:
    error, seconds = await failed_start(deployment, runner_image=stand_ins.dies)
    assert "ended with status 3" in error.message
    assert "planted: dies" in error.detail
    assert deployment.spec().password.get_secret_value() not in error.detail
    assert seconds < 15
    assert (deployment.containers(), deployment.networks()) == ([], [])


@pytest.mark.requirement("runner:oom-told")
async def test_one_that_takes_all_memory_is_told_so(deployment: Deployment, stand_ins: StandIns) -> None:
    error, _ = await failed_start(deployment, runner_image=stand_ins.eats, runner_memory_mb=512)
    assert "ran out of memory" in error.message
    assert deployment.containers() == []


@pytest.mark.requirement("runner:deadlines")
async def test_one_that_never_answers_has_a_deadline_of_its_own(deployment: Deployment, stand_ins: StandIns) -> None:
    error, _ = await failed_start(deployment, runner_image=stand_ins.sleeps, runner_health_timeout_s=1)
    assert "did not answer within 1 s" in error.message
    assert "planted: sleeps" in error.detail
    assert (deployment.containers(), deployment.networks()) == ([], [])


@pytest.mark.requirement("runner:image-missing")
async def test_a_missing_image_is_named_with_what_to_run(deployment: Deployment) -> None:
    error, _ = await failed_start(deployment, runner_image="open-persona-none:0")
    assert error.reason == "runner_missing"
    assert "docker build -t open-persona-none:0 -f deploy/runner/Dockerfile ." in error.message
    assert deployment.containers() == []


@pytest.mark.requirement("runner:image-missing")
async def test_a_runner_outlives_its_missing_image_and_is_adopted(deployment: Deployment, engine: Engine) -> None:
    image = f"open-persona-test-missing:{secrets.token_hex(4)}"
    docker("tag", engine.runner, image)
    mode = await deployment.other_mode(runner_image=image)
    url = await mode.make(deployment.spec()).start()
    docker("rmi", image)
    assert [one.current for one in await mode.found()] == [True]
    assert await (await deployment.other_mode(runner_image=image)).make(deployment.spec()).adopt() == url
    smaller = await deployment.other_mode(runner_image=image, runner_memory_mb=900)
    assert [one.current for one in await smaller.found()] == [False]
    with pytest.raises(RunnerError, match="can't be taken up"):
        await smaller.make(deployment.spec()).adopt()


@pytest.mark.requirement("runner:name-taken")
async def test_a_strangers_container_under_the_name_is_left_alone(deployment: Deployment, stand_ins: StandIns) -> None:
    name = deployment.spec().name
    docker("create", "--name", name, "--label", "open-persona.runner=1", stand_ins.dies, "true")
    try:
        error, _ = await failed_start(deployment)
        assert name in error.message
        with pytest.raises(RunnerError, match="no runner of this deployment"):
            await deployment.mode.remove(name)
        with pytest.raises(RunnerError, match="no runner of this deployment"):
            await deployment.mode.logs(name, 5)
        assert docker("inspect", "--format", "{{.State.Status}}", name) == "created"
    finally:
        docker("rm", "-f", name)


@pytest.mark.requirement("runner:claims")
async def test_one_of_ours_that_ended_or_is_another_gives_way(deployment: Deployment, stand_ins: StandIns) -> None:
    """``dies`` ends at once, so whatever has the name is an ended one, of another image."""
    spec = deployment.spec()
    old = docker("create", "--name", spec.name, "--label", "open-persona.runner=1", "--label", deployment.label,
                 stand_ins.sleeps, "true")  # fmt: skip
    await failed_start(deployment, runner_image=stand_ins.dies)
    assert docker("ps", "-aq", "--no-trunc", "--filter", f"id={old}") == ""


@pytest.mark.requirement("runner:engine-down")
async def test_a_daemon_that_is_down_is_told_and_used_again_once_it_is_up(deployment: Deployment) -> None:
    async with faulty_daemon(deployment.settings.home / "docker.sock") as daemon:
        await daemon.down()
        mode = await deployment.other_mode(docker_host=daemon.host)
        with pytest.raises(RunnerError, match="can't be reached") as down:
            await mode.found()
        assert daemon.host in down.value.detail
        await daemon.up()
        assert list(await mode.found()) == []
        await until(lambda: mode.following, 5)


@pytest.mark.requirement("runner:engine-fails")
@pytest.mark.parametrize("call", ["POST /v[^/]*/containers/create", "POST /v[^/]*/containers/[^/]*/start"])
async def test_a_daemon_that_fails_is_told_and_nothing_is_left(
    deployment: Deployment, stand_ins: StandIns, call: str
) -> None:
    async with faulty_daemon(deployment.settings.home / "docker.sock") as daemon:
        daemon.fails = call
        error, _ = await failed_start(deployment, docker_host=daemon.host, runner_image=stand_ins.sleeps)
    assert "refused to do its part" in error.message
    assert "HTTP 500: planted failure" in error.detail
    assert (deployment.containers(), deployment.networks()) == ([], [])


@pytest.mark.requirement("runner:engine-slow")
async def test_a_daemon_that_is_slow_is_told_and_what_comes_late_is_found(
    deployment: Deployment, stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_engine, "CALL_S", 1.0)
    async with faulty_daemon(deployment.settings.home / "docker.sock") as daemon:
        daemon.slow, daemon.slow_s = "/containers/create", 3
        error, seconds = await failed_start(deployment, docker_host=daemon.host, runner_image=stand_ins.sleeps)
        assert "too slow" in error.message
        assert seconds < 10
        await until(lambda: bool(deployment.containers()), 20)
    (late,) = await deployment.mode.found()
    assert late.state == "ended"
    await deployment.mode.remove(late.name)
    assert (deployment.containers(), deployment.networks()) == ([], [])


@pytest.mark.requirement("runner:folders")
async def test_folders_that_cannot_be_made_are_told(deployment: Deployment) -> None:
    (deployment.settings.home / "workspaces").write_text("in the way")
    error, _ = await failed_start(deployment)
    assert "folders can't be made" in error.message
    assert Path(deployment.spec().private).exists() is False
