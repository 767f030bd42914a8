"""Several workers of one Open WebUI: one seeds, and another goes on when it is killed."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from openwebui.seed_lock import FILE
from tests.e2e.openwebui.services import Services
from tests.e2e.openwebui.stock_webui import eventually, stock_webui
from tests.e2e.openwebui.test_seed import Stage
from tests.e2e.process.deployment import free_port
from tests.e2e.process.processes import processes_of

pytestmark = pytest.mark.real


def seeders(data: Path) -> list[int]:
    """The processes of this Open WebUI that hold the seeder's lock."""
    return [pid for pid in processes_of(data) if str(data / FILE) in open_files(pid)]


def open_files(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(OSError):  # closed meanwhile
            found.add(str(entry.readlink()))
    return found


@pytest.mark.requirement("seed:one_at_a_time")
def test_another_worker_takes_over_from_a_killed_one(tmp_path: Path) -> None:
    services = Services(tmp_path / "services")
    services.add("weather", title="Weather")
    more = {**services.for_webui, "UVICORN_WORKERS": "2"}
    try:
        with stock_webui(tmp_path / "webui", free_port(), more) as webui:
            stage = Stage(webui, services)
            stage.seeded()
            (first,) = eventually(lambda: seeders(webui.data), within=60, what="a worker seeds")
            os.kill(first, signal.SIGKILL)
            (second,) = eventually(
                lambda: [pid for pid in seeders(webui.data) if pid != first], within=60, what="another worker seeds"
            )
            assert second != first
            tool_id = "open_persona_integration_weather"
            stage.webui.api.delete(f"{webui.url}/api/v1/tools/id/{tool_id}/delete").raise_for_status()
            eventually(lambda: tool_id in stage.status()["tools"], within=60, what="what was deleted is back")
    finally:
        services.stop()
