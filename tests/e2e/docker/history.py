"""What Docker and a stack's sidecar say of its runners: when each was made, was ready and was gone."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from tests.e2e.docker.stack import Stack, docker, run

READY = re.compile(r"^(\S+)Z .* runner (\S+) is ready after ", re.MULTILINE)


@dataclass(frozen=True)
class Life:
    """One container of a runner; times in seconds since 1970, infinite for what never came.

    ``ready`` is when the sidecar had its first answer, or when the container was gone before.
    """

    container: str
    name: str
    made: float
    ready: float
    gone: float


async def now() -> float:
    """The time of this machine's Docker daemon, which stamps both events and logs."""
    return _seconds(json.loads(await docker("info", "--format", "{{json .SystemTime}}")).removesuffix("Z"))


@dataclass
class History:
    """Time, action, container's id and name of all that happened to a stack's runners, in that order."""

    stack: Stack
    events: list[tuple[float, str, str, str]] = field(default_factory=list)

    async def lives(self, since: float = 0) -> list[Life]:
        """All runners that were made since then, in that order."""
        logged = await run("sh", "-c", f"docker logs -t {self.stack.container('sidecar')} 2>&1")
        answered = [(name, _seconds(at)) for at, name in READY.findall(logged)]
        gone = {container: at for at, action, container, _ in self.events if action == "destroy"}
        return [
            _life(container, name, at, gone.get(container, float("inf")), answered)
            for at, action, container, name in self.events
            if action == "create" and at >= since
        ]


def _life(container: str, name: str, made: float, gone: float, answered: Sequence[tuple[str, float]]) -> Life:
    first = min((at for whose, at in answered if whose == name and made < at), default=float("inf"))
    return Life(container, name, made, min(first, gone), gone)


@asynccontextmanager
async def recorded(stack: Stack) -> AsyncIterator[History]:
    """Follows Docker's events: of those that are past it keeps the last 256 alone, health checks among them."""
    filters = [f"label=open-persona.instance={stack.instance}", "type=container", "event=create", "event=destroy"]
    options = [part for each in filters for part in ("--filter", each)]
    command = ("docker", "events", "--since", f"{await now():.9f}", *options, "--format", "{{json .}}")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    history = History(stack)
    reading = asyncio.create_task(_read(process, history))
    try:
        yield history
    finally:
        process.terminate()
        await process.wait()
        await reading


async def _read(process: asyncio.subprocess.Process, history: History) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        one = json.loads(line)
        actor = one["Actor"]
        history.events.append((one["timeNano"] / 1e9, one["Action"], actor["ID"], actor["Attributes"]["name"]))


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    """Of spans from one time to another, how many there were at once."""
    changes = sorted(change for begin, end in spans for change in ((begin, 1), (end, -1)))
    count = most = 0
    for _, change in changes:
        count += change
        most = max(most, count)
    return most


def _seconds(stamp: str) -> float:
    """``2026-11-27T05:00:00.123456789`` in UTC, as Docker writes it; finer than microseconds is left out."""
    whole, _, fraction = stamp.partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")
