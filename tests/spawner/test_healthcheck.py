"""The healthcheck: well only where the spawner and Docker behind it answer."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from spawner.healthcheck import healthcheck
from tests.spawner.test_door import docker_that, saying


@pytest.mark.requirement("spawner:image")
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", 0),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\n{}", 1),
        (b"nonsense\r\n\r\n", 1),
        (b"", 1),
    ],
    ids=["well", "no Docker", "nonsense", "nothing"],
)
async def test_it_is_well_where_docker_answers(
    answer: bytes, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with docker_that(saying(answer), tmp_path) as path:
        monkeypatch.setenv("OPEN_PERSONA_SPAWNER_SOCKET", str(path))
        assert await asyncio.to_thread(healthcheck) == status


@pytest.mark.requirement("spawner:image")
def test_where_nobody_listens_it_is_not_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPEN_PERSONA_SPAWNER_SOCKET", str(tmp_path / "none.sock"))
    assert healthcheck() == 1


@pytest.mark.requirement("spawner:image")
def test_it_loads_no_library() -> None:
    code = "import sys, spawner.__main__; print([m for m in ('aiohttp', 'pydantic') if m in sys.modules])"
    root = Path(__file__).parents[2]
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True, timeout=20
    )
    assert told.stdout == "[]\n"
