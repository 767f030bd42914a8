"""A runner mode whose runners are nothing but names; all speak through one small opencode on loopback.

Tests hold and fail its steps one by one, which no real engine lets them do.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from sidecar.errors import RunnerError
from sidecar.opencode_config import OpencodeConfig
from sidecar.runners.base import Ending, FoundRunner, RunnerSpec
from sidecar.runners.directories import prepare
from sidecar.runners.pool import RunnerPool
from sidecar.settings import Settings
from sidecar.start_checks import StartChecks
from tests.fakes.asgi_server import serve_app

CONFIG = OpencodeConfig(json.dumps({"agent": {}, "mcp": {}, "n": 1}))
SIG = "01234567"


@dataclass
class Opencode:
    """What it was asked; ``busy`` are the sessions that run in it.

    ``silent``: its health is bad. ``deaf``: its health is not answered until that is set.
    """

    busy: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    silent: bool = False
    deaf: asyncio.Event | None = None
    _listeners: set[asyncio.Queue[str]] = field(default_factory=set)

    def tell(self, event: str) -> None:
        for queue in self._listeners:
            queue.put_nowait(event)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/global/event", self._events),
                Route("/{path:path}", self._answer, methods=["GET", "POST", "DELETE"]),
            ]
        )

    async def _events(self, _: Request) -> StreamingResponse:
        queue: asyncio.Queue[str] = asyncio.Queue()

        async def lines() -> AsyncIterator[bytes]:
            yield b'data: {"type": "server.connected"}\n\n'
            self._listeners.add(queue)
            try:
                while True:
                    yield f'data: {{"type": "{await queue.get()}"}}\n\n'.encode()
            finally:
                self._listeners.discard(queue)

        return StreamingResponse(lines(), media_type="text/event-stream")

    async def _answer(self, request: Request) -> JSONResponse:
        path = request.url.path
        self.asked.append(f"{request.method} {path}")
        if path == "/global/health":
            if self.deaf is not None:
                await self.deaf.wait()
            return JSONResponse({"version": "1"}, status_code=500 if self.silent else 200)
        if path == "/session/status":
            return JSONResponse({session: {"type": "busy"} for session in self.busy})
        if path.endswith("/abort"):
            self.busy.discard(path.split("/")[2])
        return JSONResponse({})


@dataclass
class Engine:
    """What is there, by name; ``calls`` counts what was done to it. A cleared gate holds that step."""

    url: str
    there: dict[str, FoundRunner] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    starting: int = 0
    most_starting: int = 0
    most_there: int = 0
    down: bool = False
    strays: bool = False
    start_s: float = 0
    stop_s: float = 0
    gates: dict[str, asyncio.Event] = field(default_factory=dict)

    async def step(self, name: str) -> None:
        self.calls[name] += 1
        if (gate := self.gates.get(name)) is not None:
            await gate.wait()
        if self.down:
            raise RunnerError("The engine is down.", detail=name)


class DoubleRunner:
    def __init__(self, spec: RunnerSpec, engine: Engine) -> None:
        self.spec = spec
        self.ending: Ending | None = None
        self._engine = engine

    async def start(self) -> str:
        self._engine.starting += 1
        self._engine.most_starting = max(self._engine.most_starting, self._engine.starting)
        try:
            await self._engine.step("start")
            await asyncio.sleep(self._engine.start_s)
        finally:
            self._engine.starting -= 1
        await asyncio.to_thread(prepare, self.spec)
        self._engine.there[self.spec.name] = found(self.spec)
        self._engine.most_there = max(self._engine.most_there, len(self._engine.there))
        return self._engine.url

    async def adopt(self) -> str:
        await self._engine.step("adopt")
        self._state("running")
        return self._engine.url

    async def poll(self) -> int | None:
        return None if self.spec.name in self._engine.there else 137

    async def stop(self) -> None:
        await self._engine.step("stop")
        await asyncio.sleep(self._engine.stop_s)
        self._engine.there.pop(self.spec.name, None)

    async def pause(self) -> None:
        await self._engine.step("pause")
        self._state("paused")

    async def resume(self) -> None:
        await self._engine.step("resume")
        self._state("running")

    async def mend(self) -> None:
        await self._engine.step("mend")

    async def has_strays(self) -> bool:
        await self._engine.step("has_strays")
        return self._engine.strays

    def _state(self, state: str) -> None:
        there = self._engine.there[self.spec.name]
        self._engine.there[self.spec.name] = replace(there, state=state)  # type: ignore[arg-type]


@dataclass
class DoubleMode:
    engine: Engine
    lasting: bool = True

    async def open(self) -> None:
        self.engine.calls["open"] += 1

    async def close(self) -> None:
        self.engine.calls["close"] += 1

    def make(self, spec: RunnerSpec) -> DoubleRunner:
        return DoubleRunner(spec, self.engine)

    async def found(self) -> Sequence[FoundRunner]:
        await self.engine.step("found")
        return list(self.engine.there.values())

    async def remove(self, name: str) -> None:
        await self.engine.step("remove")
        self.engine.there.pop(name, None)

    async def tidy(self) -> None:
        await self.engine.step("tidy")

    async def logs(self, name: str, lines: int) -> str:
        return f"{name}: {lines}"


def found(spec: RunnerSpec) -> FoundRunner:
    return FoundRunner(spec.name, spec.workspace_hash, spec.key_sig, "running", current=True)


@dataclass
class Rig:
    """``pool`` is the one under test; ``successor`` makes the next one, as after a restart of the sidecar."""

    settings: Settings
    engine: Engine
    opencode: Opencode
    http: aiohttp.ClientSession
    pools: list[RunnerPool] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)

    @property
    def pool(self) -> RunnerPool:
        return self.pools[-1]

    def say(self, line: str, *, done: bool = False) -> None:
        self.told.append(line)

    async def turn(self, user: str, gate: asyncio.Event | None = None, *, sig: str = SIG, alone: bool = False) -> str:
        """One turn that lasts until ``gate``; the name of the runner that it had."""
        await self.pool.admit(user)
        return await self.admitted(user, gate.wait if gate else None, sig=sig, alone=alone)

    async def admitted(
        self, user: str, work: Callable[[], Awaitable[object]] | None = None, *, sig: str = SIG, alone: bool = False
    ) -> str:
        """The turn of a user who has been let in; it lasts as long as ``work``."""
        with self.pool.holding(user):
            async with self.pool.lease(user, sig, CONFIG, self.say, alone=alone) as live:
                self.started.append(user)
                if work is not None:
                    await work()
                return live.spec.name

    async def open(self, *, lasting: bool = True) -> RunnerPool:
        async def on_start(user: str, client: object) -> None:
            self.engine.calls["on_start"] += 1

        checks = StartChecks(self.settings.home, 0)
        pool = RunnerPool(self.settings, DoubleMode(self.engine, lasting), self.http, on_start, checks)
        self.pools.append(pool)
        await pool.start()
        return pool

    async def successor(self) -> RunnerPool:
        await self.pool.close()
        return await self.open()


@asynccontextmanager
async def rig(home: Path, *, lasting: bool = True, **settings: object) -> AsyncIterator[Rig]:
    opencode = Opencode()
    given: dict[str, object] = {"home": home, "token_key": SecretStr("token-key"), "process_shared": True, **settings}
    async with serve_app(opencode.app()) as url, aiohttp.ClientSession() as http:
        made = Rig(Settings(**given), Engine(url), opencode, http)  # type: ignore[arg-type]
        await made.open(lasting=lasting)
        try:
            yield made
        finally:
            made.engine.down = False
            for gate in made.engine.gates.values():
                gate.set()
            for pool in made.pools:
                await pool.close()


async def until(holds: object, within_s: float = 10) -> None:
    """Raises ``TimeoutError`` unless ``holds()`` is true in time."""
    assert callable(holds)
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.005)
