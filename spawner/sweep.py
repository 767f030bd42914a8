"""The end: what was made through this spawner is stopped and removed when it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from spawner.answers import Json, ours_of
from spawner.engine import Engine
from spawner.errors import EngineError
from spawner.names import SPAWNER
from spawner.queries import narrowed

log = logging.getLogger("spawner")
AT_ONCE: Final = 8
STOP_S: Final = 3
CALL_S: Final = 8.0
WHOLE_S: Final = 18.0
AGAIN_S: Final = 0.2


class Sweep:
    def __init__(self, engine: Engine, deployment: str) -> None:
        self._engine = engine
        self._deployment = deployment
        self._room = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> bool:
        """Removes all runners, then all networks, again and again until none is left; False where some are.

        Ends within ``WHOLE_S``, and does not raise: what is left is found by its labels at the next start.
        """
        try:
            async with asyncio.timeout(WHOLE_S):
                while not await self._once():  # noqa: ASYNC110 - Docker tells nobody when a network may go
                    await asyncio.sleep(AGAIN_S)
        except TimeoutError:
            log.error("not everything could be removed within %g s; 'docker ps -a' shows what is left", WHOLE_S)
            return False
        return True

    async def _once(self) -> bool:
        """Whether nothing was left to remove."""
        try:
            if runners := await self._ours("/containers/json", {"all": "1"}):
                await self._each(runners, self._end_runner)
                return False
            networks = await self._ours("/networks", {})
            await self._each(networks, self._end_network)
        except EngineError as error:
            log.warning("the sweep has to try again: %s", error)
            return False
        return not networks

    async def _ours(self, path: str, query: dict[str, str]) -> list[Json]:
        filters = narrowed(None, f"{SPAWNER}={self._deployment}")
        answer = await self._engine.call("GET", path, query={**query, "filters": filters}, deadline_s=CALL_S)
        if not answer.ok:
            raise EngineError(f"Docker lists nothing (status {answer.status})")
        return ours_of(answer.json(), self._deployment)

    async def _each(self, things: Sequence[Json], end: Callable[[Json], Awaitable[None]]) -> None:
        async def one(thing: Json) -> None:
            async with self._room:
                await end(thing)

        for fault in await asyncio.gather(*(one(thing) for thing in things), return_exceptions=True):
            if isinstance(fault, EngineError):
                log.warning("the sweep has to try again: %s", fault)
            elif isinstance(fault, BaseException):
                raise fault

    async def _end_runner(self, runner: Json) -> None:
        """Stopped first: opencode then closes its database."""
        path = f"/containers/{runner['Id']}"
        await self._engine.call("POST", f"{path}/stop", query={"t": str(STOP_S)}, deadline_s=CALL_S)
        answer = await self._engine.call("DELETE", path, query={"force": "1"}, deadline_s=CALL_S)
        if answer.ok:
            log.info("removed %s", ", ".join(str(name).lstrip("/") for name in runner.get("Names", [])))

    async def _end_network(self, network: Json) -> None:
        path = f"/networks/{network['Id']}"
        found = await self._engine.call("GET", path, deadline_s=CALL_S)
        for member in (found.json().get("Containers") or {}) if found.ok else {}:
            left = {"Container": member, "Force": True}
            await self._engine.call("POST", f"{path}/disconnect", body=left, deadline_s=CALL_S)
        if (await self._engine.call("DELETE", path, deadline_s=CALL_S)).ok:
            log.info("removed %s", network["Name"])
