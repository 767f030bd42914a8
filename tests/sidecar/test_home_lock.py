"""Two sidecars at once with one home: the second one is refused before it touches anything of the first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.home_lock import NAME, only_one
from sidecar.services import run_services
from sidecar.settings import Settings, SettingsError

HOLD = """
import asyncio, sys
from pathlib import Path
from sidecar.home_lock import only_one

async def hold():
    async with only_one(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()

asyncio.run(hold())
"""


@pytest.mark.requirement("sidecar:one")
async def test_a_second_one_is_refused_and_a_killed_one_leaves_the_place(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        try:
            with pytest.raises(SettingsError, match="Another sidecar runs with"):
                async with only_one(tmp_path, wait_s=0.1):
                    pass
        finally:
            other.kill()
    async with only_one(tmp_path, wait_s=5):
        pass


@pytest.mark.requirement("sidecar:one")
async def test_it_is_asked_for_before_the_store_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.home_lock.WAIT_S", 0.1)
    async with only_one(tmp_path):
        with pytest.raises(SettingsError, match="Another sidecar"):
            async with run_services(Settings(home=tmp_path)):
                pass
        assert [path.name for path in tmp_path.iterdir()] == [NAME]


async def test_a_home_that_cannot_be_made_is_left_to_who_needs_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with only_one(tmp_path / "file" / "home"):
        pass
