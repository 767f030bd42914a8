"""The runners of this home: which are there, which run, and where their logs are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from open_persona.doctor.findings import Finding, Patient, ok, warn
from open_persona.errors import ServiceUnreachable
from open_persona.runners import entries
from open_persona.sidecar_api import SidecarApi

LOG = Path("data") / "opencode" / "log"
TAIL_BYTES = 64_000


async def runners(patient: Patient) -> Sequence[Finding]:
    """One line for each runner: containers as the sidecar tells them, else by folder (``runners/<hash>/<key set>``)."""
    if patient.environment.get("OPEN_PERSONA_RUNNER_MODE") == "docker":
        return await _containers(patient)
    folders = sorted(path for path in (patient.settings.home / "runners").glob("*/*") if path.is_dir())
    if not folders:
        return [ok("runners", "none yet: the first turn of a user makes one")]
    running = dict(_running(patient.settings.home / "workspaces"))
    return [_runner(folder, running.get(folder.parent.name)) for folder in folders]


async def _containers(patient: Patient) -> Sequence[Finding]:
    if patient.secrets is None:
        return [ok("runners", "none yet: the services were never started")]
    sidecar = SidecarApi(patient.settings.sidecar, patient.http, patient.secrets.sidecar_api_key)
    try:
        found = await entries(sidecar)
    except ServiceUnreachable as error:
        return [warn("runners", f"not known: {error}", "Look at the sidecar first.")]
    if not found:
        return [ok("runners", "no runner is up: the next turn of a user starts one")]
    return [
        ok(
            f"runner {one.name.removeprefix('open-persona-runner-')}",
            f"{one.state}, log: open-persona runners logs {one.name}",
        )
        for one in found
    ]


def _runner(folder: Path, pid: str | None) -> Finding:
    name = f"runner {folder.parent.name}-{folder.name}"
    state = f"runs (pid {pid})" if pid else "does not run; the next turn starts it"
    log = max((folder / LOG).glob("*.log"), key=lambda path: path.stat().st_mtime, default=None)
    if log is None:
        return ok(name, f"{state}, no log yet")
    written = datetime.fromtimestamp(log.stat().st_mtime, UTC)
    message = f"{state}, log {log} (last line {written:%Y-%m-%d %H:%M} UTC)"
    errors = _errors(log)
    return warn(name, f"{message}, {errors} errors near its end", f"Look: tail {log}") if errors else ok(name, message)


def _errors(log: Path) -> int:
    """Lines at level ERROR in the log's last part."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        return sum(line.startswith(b"ERROR") or b"level=ERROR" in line for line in file)


def _running(workspaces: Path) -> Iterator[tuple[str, str]]:
    """(workspace hash, pid) of each opencode that works in one of these workspaces, as far as this user may see it."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            folder = (process / "cwd").readlink()
            if folder.parent == workspaces.resolve() and b"serve" in (process / "cmdline").read_bytes().split(b"\0"):
                yield folder.name, process.name
