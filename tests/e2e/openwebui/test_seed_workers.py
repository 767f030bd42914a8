"""Several workers of one Open WebUI: one seeds, and another goes on when it is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from openwebui.seed_lock import FILE
from tests.e2e.openwebui.services import Services
from tests.e2e.openwebui.stock_webui import eventually, stock_webui
from tests.e2e.openwebui.test_seed import Stage
from tests.e2e.process.deployment import free_port

pytestmark = pytest.mark.real

WORKER_S = 240
"""As long as a start may take: the other worker may still be at its own."""


def seeders(data: Path) -> list[int]:
    """The process that holds the seeder's lock, as the system lists it; those that look at the file do not count."""
    try:
        inode = (data / FILE).stat().st_ino
    except FileNotFoundError:
        return []
    held = (line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" not in line)
    return [int(words[4]) for words in held if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode)]


@pytest.mark.requirement("seed:one_at_a_time")
def test_another_worker_takes_over_from_a_killed_one(tmp_path: Path) -> None:
    services = Services(tmp_path / "services")
    services.add("weather", title="Weather")
    more = {**services.for_webui, "UVICORN_WORKERS": "2"}
    try:
        with stock_webui(tmp_path / "webui", free_port(), more) as webui:
            stage = Stage(webui, services)
            stage.seeded()
            (first,) = eventually(lambda: seeders(webui.data), within=WORKER_S, what="a worker seeds")
            os.kill(first, signal.SIGKILL)
            (second,) = eventually(
                lambda: [pid for pid in seeders(webui.data) if pid != first],
                within=WORKER_S,
                what="another worker seeds",
            )
            assert second != first
            tool_id = "open_persona_integration_weather"
            stage.webui.api.delete(f"{webui.url}/api/v1/tools/id/{tool_id}/delete").raise_for_status()
            eventually(lambda: tool_id in stage.status()["tools"], within=60, what="what was deleted is back")
    finally:
        services.stop()
