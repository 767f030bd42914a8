"""Users of a stack, and their turns, which are watched while they run: what came of it, and when."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sidecar.identity import workspace_hash
from tests.e2e.docker.stack import Stack, docker
from tests.e2e.process.deployment import Answer
from tests.fakes.provider import Reply

LATE_S = 600
"""More than a step of a turn takes on a machine where other tests run too."""
PATIENT = {
    "OPEN_PERSONA_RUNNER_START_TIMEOUT_S": "300",
    "OPEN_PERSONA_RUNNER_HEALTH_TIMEOUT_S": "300",
    "OPEN_PERSONA_RUNNER_CPUS": str(min(2, os.cpu_count() or 1)),
}
"""Settings of a stack whose runners may start on such a machine."""


@dataclass
class Told(Answer):
    """An answer with the wall clock's time at which each of its events came; ``over`` once no more will come."""

    at: list[float] = field(default_factory=list)
    over: bool = False

    def add(self, line: str) -> None:
        super().add(line)
        self.at += [time.time()] * (len(self.events) - len(self.at))

    def first(self, words: str) -> float | None:
        """When these words first came, in whatever event."""
        times = (at for event, at in zip(self.events, self.at, strict=True) if words in str(event))
        return next(times, None)


@dataclass
class Turn:
    """One that runs in the background."""

    told: Told
    task: asyncio.Task[Told]
    _changed: asyncio.Condition

    @classmethod
    def begin(cls, stack: Stack, said: str, **options: object) -> Turn:
        told, changed = Told(200), asyncio.Condition()
        return cls(told, asyncio.create_task(_read(stack, said, told, changed, options)), changed)

    async def until(self, holds: Callable[[Told], bool], within_s: float = LATE_S) -> None:
        """Fails, with all that came, unless it holds in time and before the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s), self._changed:
                await self._changed.wait_for(lambda: holds(self.told) or self.told.over)
        assert holds(self.told), self.told

    async def end(self, within_s: float = LATE_S) -> Told:
        async with asyncio.timeout(within_s):
            return await self.task


async def _read(stack: Stack, said: str, told: Told, changed: asyncio.Condition, options: dict[str, object]) -> Told:
    try:
        async with stack.client.stream("POST", **stack.turn(said, **options)) as response:  # type: ignore[arg-type]
            told.status = response.status_code
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                told.body = json.loads(await response.aread() or b"{}")
                return told
            async for line in response.aiter_lines():
                told.add(line)
                async with changed:
                    changed.notify_all()
    finally:
        told.over = True
        async with changed:
            changed.notify_all()
    return told


@dataclass(frozen=True)
class Person:
    """A user in one chat with Izzy."""

    stack: Stack
    id: str
    chat: str

    @classmethod
    def of(cls, stack: Stack, name: str, chat: str) -> Person:
        """Named after the stack too: the names of containers and networks tell users, not deployments."""
        return cls(stack, f"{name}-{stack.prefix}", chat)

    @property
    def workspace(self) -> str:
        return workspace_hash(self.id)

    def begin(self, said: str, **options: object) -> Turn:
        return Turn.begin(self.stack, said, **{"user": self.id, "chat": self.chat, **options})

    async def say(self, said: str, **options: object) -> Told:
        return await self.begin(said, **options).end()

    async def container(self) -> str:
        """The id of the one runner that this user has."""
        (mine,) = await self.containers("--filter", "status=running")
        return mine

    async def containers(self, *options: str) -> list[str]:
        """The ids of all that there are of this user's."""
        label = f"label=open-persona.workspace={self.workspace}"
        return (await docker("ps", "-aq", "--no-trunc", "--filter", label, *options)).split()

    async def inside(self, script: str) -> str:
        """What a script writes that runs in the runner as its own user."""
        return (await docker("exec", await self.container(), "bash", "-c", script)).strip()

    async def held(self, gate: asyncio.Event, said: str = "wait", **options: object) -> Turn:
        """A turn whose answer has begun and goes on once ``gate`` is set; see ``held_answers``."""
        turn = self.begin(said, **options)
        await turn.until(lambda told: "slow " in told.text)
        assert not gate.is_set()
        return turn


@contextlib.contextmanager
def held_answers(stack: Stack, words: str) -> Iterator[asyncio.Event]:
    """While inside, an answer to ``words`` stops after its first part until the event is set; others are as ever."""
    gate = asyncio.Event()
    stack.provider.script(
        lambda asked: Reply(text=["slow ", "end"], gate=gate) if words in asked.last_user else Reply(text=["hello"])
    )
    try:
        yield gate
    finally:
        gate.set()
        stack.provider.script("hello")
