"""What is said when Docker can't be asked, with no Docker at all."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from sidecar.runners import docker_engine
from sidecar.runners.docker_engine import Engine, EngineError


async def refusal(engine: Engine) -> EngineError:
    with pytest.raises(EngineError) as refused:
        await engine.call("list", lambda docker: docker.containers())
    return refused.value


@pytest.mark.requirement("runner:engine-down")
@pytest.mark.parametrize("there", [True, False], ids=["nobody listens", "no socket"])
async def test_a_daemon_that_is_not_there_is_told_with_its_address(tmp_path: Path, *, there: bool) -> None:
    path = tmp_path / "docker.sock"
    if there:
        path.touch()
    engine = Engine(f"unix://{path}")
    error = await refusal(engine)
    assert "has to start it" in error.message
    assert "OPEN_PERSONA_DOCKER_HOST" in error.message
    assert str(path) in error.detail
    assert str(path) not in error.message
    await engine.close()


@pytest.mark.requirement("runner:engine-slow")
async def test_a_daemon_that_never_answers_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_engine, "CALL_S", 0.2)
    path = str(tmp_path / "docker.sock")
    with socket.socket(socket.AF_UNIX) as listens:
        listens.bind(path)
        listens.listen()
        engine = Engine(f"unix://{path}")
        begun = time.monotonic()
        error = await refusal(engine)
        assert time.monotonic() - begun < 10
        assert "did not answer within 0.2 s" in error.detail
        await engine.close()


async def test_a_closed_engine_asks_nothing() -> None:
    engine = Engine()
    await engine.close()
    assert "is stopping" in (await refusal(engine)).message
