"""What a runner in a container costs: its start, a paused one's first answer, its memory when idle after a session.

The start is compared with a bare ``docker run`` of the same image, interleaved; both are ready when opencode's health
answers. Medians; the last line is JSON. Needs Docker, or root to install it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from sidecar.errors import RunnerError
from sidecar.opencode_client import OpencodeClient
from sidecar.runners.container_spec import PORT
from sidecar.runners.docker_runner import POLL_S, DockerRunner
from tests.e2e.docker.engine import Engine, docker, running_engine
from tests.e2e.docker.runners import Deployment, running_mode

STARTS = 6
PAUSES = 10
READY_S = 120
LIMITS = {"start_ratio": 1.1, "resume_s": 0.2, "memory_mib": 260.0}
UNITS = {"KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0}


async def our_start(runner: DockerRunner) -> float:
    begun = time.perf_counter()
    await runner.start()
    return time.perf_counter() - begun


async def bare_start(deployment: Deployment, number: int) -> float:
    spec = deployment.spec(f"bare{number}")
    name, password = f"{spec.name}-bare", spec.password.get_secret_value()
    begun = time.perf_counter()
    try:
        given = ("--name", name, "-e", f"OPENCODE_SERVER_PASSWORD={password}", deployment.engine.runner)
        await asyncio.to_thread(docker, "run", "-d", *given)
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        address = await asyncio.to_thread(docker, "inspect", "--format", template, name)
        await ready(OpencodeClient(f"http://{address}:{PORT}", spec.password, deployment.http))
        return time.perf_counter() - begun
    finally:
        await asyncio.to_thread(docker, "rm", "-f", "-v", name)


async def ready(client: OpencodeClient) -> None:
    """Polls as often as a runner's start does."""
    async with asyncio.timeout(READY_S):
        while True:
            with suppress(RunnerError):
                if await client.version():
                    return
            await asyncio.sleep(POLL_S)


async def starts(deployment: Deployment) -> tuple[list[float], list[float]]:
    ours, bare = [], []
    for number in range(STARTS):
        runner = deployment.runner(f"user{number}")
        ours.append(await our_start(runner))
        await runner.stop()
        bare.append(await bare_start(deployment, number))
    return ours, bare


async def resumes(runner: DockerRunner, client: OpencodeClient) -> list[float]:
    """Seconds from a paused runner to its first answer."""
    taken = []
    for _ in range(PAUSES):
        await runner.pause()
        begun = time.perf_counter()
        await runner.resume()
        await client.version(timeout_s=10)
        taken.append(time.perf_counter() - begun)
    return taken


def memory_mib(name: str) -> float:
    """As ``docker stats`` has it: without the page cache that can be dropped."""
    said = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", name)
    found = re.match(r"([\d.]+)([KMG]iB)", said)
    assert found is not None, said
    return float(found[1]) * UNITS[found[2]]


async def measure(engine: Engine, home: Path) -> dict[str, float]:
    async with running_mode(home, engine) as deployment:
        ours, bare = await starts(deployment)
        runner = deployment.runner()
        client = OpencodeClient(await runner.start(), runner.spec.password, deployment.http)
        await client.create_session("bench", [])
        paused = await resumes(runner, client)
        used = await asyncio.to_thread(memory_mib, runner.spec.name)
        await runner.stop()
    one, other = statistics.median(ours), statistics.median(bare)
    return {
        "start_s": round(one, 2),
        "bare_start_s": round(other, 2),
        "start_ratio": round(one / other, 3),
        "resume_s": round(statistics.median(paused), 3),
        "memory_mib": round(used, 1),
    }


def main() -> int:
    logging.disable(logging.WARNING)
    home = Path(tempfile.mkdtemp(prefix="open-persona-bench-"))
    try:
        with running_engine() as engine:
            found = asyncio.run(measure(engine, home))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(f"{'':44}{'measured':>10}{'limit':>8}")
    print(f"{'create to ready (s)':44}{found['start_s']:10.2f}")
    print(f"{'bare docker run to ready (s)':44}{found['bare_start_s']:10.2f}")
    for name, key in (
        ("create to ready ÷ bare docker run", "start_ratio"),
        ("paused to ready (s)", "resume_s"),
        ("memory of an idle runner, one session (MiB)", "memory_mib"),
    ):
        print(f"{name:44}{found[key]:10.2f}{LIMITS[key]:8.2f}")
    good = all(found[key] <= limit for key, limit in LIMITS.items())
    print(json.dumps({"bench": "runner", "within_limits": good, "limits": LIMITS, "rows": found}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
