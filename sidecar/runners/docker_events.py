"""What happens to our containers, as Docker tells it: followed by a client of its own, so that polling costs nothing.

A thread reads the stream; everything else happens in the event loop. After a reconnect Docker replays what was missed,
and one list of all containers finds what even that does not tell. While the stream is down, that list is asked for
every few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from docker import APIClient
from docker.errors import DockerException

from sidecar.errors import RunnerError
from sidecar.runners.base import Ending
from sidecar.runners.container_spec import INSTANCE, RUNNER
from sidecar.runners.docker_engine import Engine, EngineError

log = logging.getLogger(__name__)
RETRY_S: Final = 1.0
LOOK_S: Final = 2.0
OOM_BEFORE_DEATH_S: Final = 10.0
KILLED: Final = 137


@dataclass
class Watched:
    """What is known of one container. ``exit_status`` is None while it runs.

    ``oom_count`` counts the times that memory ran out in it, which need not have been its end.
    """

    id: str
    exit_status: int | None = None
    ending: Ending | None = None
    oom_count: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    on_oom: Callable[[], None] | None = None
    _oom_at: float = -OOM_BEFORE_DEATH_S

    def ran_out_of_memory(self) -> None:
        self.oom_count += 1
        self._oom_at = time.monotonic()
        if self.on_oom is not None:
            self.on_oom()

    def died(self, status: int, *, oom: bool = False) -> None:
        recent = time.monotonic() - self._oom_at < OOM_BEFORE_DEATH_S
        self._end(status, "oom" if status == KILLED and (oom or recent) else "exited")

    def removed(self) -> None:
        self._end(KILLED, "removed")

    def _end(self, status: int, ending: Ending) -> None:
        if self.exit_status is None:
            self.exit_status, self.ending = status, ending
            self.ended.set()
        elif ending == "removed" and self.ending == "exited":
            # Docker tells the death that a removal by force begins with first.
            self.ending = ending


class ContainerEvents:
    """Follows the containers of one deployment. ``open`` needs no engine that answers: it goes on trying."""

    def __init__(self, engine: Engine, instance: str) -> None:
        self._engine = engine
        self._labels = [f"{RUNNER}=1", f"{INSTANCE}={instance}"]
        self._watched: dict[str, Watched] = {}
        self._stopping = threading.Event()
        self._up, self._down = asyncio.Event(), asyncio.Event()
        self._thread: threading.Thread | None = None
        self._looker: asyncio.Task[None] | None = None
        self._stream: Any = None
        self._since_ns = self._seen_ns = 0

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._follow, args=(loop,), name="docker-events", daemon=True)
        self._thread.start()
        self._looker = asyncio.create_task(self._look_forever())

    async def close(self) -> None:
        self._stopping.set()
        if self._looker is not None:
            self._looker.cancel()
            await asyncio.gather(self._looker, return_exceptions=True)
        if self._stream is not None:
            with contextlib.suppress(OSError, AttributeError, DockerException):
                self._stream.close()
        if self._thread is not None:
            # A thread that waits for an engine that hangs ends with the process.
            await asyncio.to_thread(self._thread.join, 2.0)

    @property
    def connected(self) -> bool:
        return self._up.is_set()

    def watch(self, container: str, on_oom: Callable[[], None] | None = None) -> Watched:
        """The same ``Watched`` for as long as it is not forgotten."""
        watched = self._watched.setdefault(container, Watched(container))
        watched.on_oom = on_oom or watched.on_oom
        return watched

    def forget(self, container: str) -> None:
        self._watched.pop(container, None)

    def _follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """The thread's work: one stream after the other."""
        told = ""
        while not self._stopping.is_set():
            try:
                with contextlib.closing(self._engine.connect()) as docker:
                    self._read(docker, loop)
                fault = "the stream ended"
            except Exception as error:  # noqa: BLE001 - a thread that ended would leave every end unseen
                fault = f"{type(error).__name__}: {error}"
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._set_up, False)
            if not self._stopping.is_set() and fault != told:
                log.warning("Docker's events can't be followed (%s); trying again every %g s", fault, RETRY_S)
            told = fault
            self._stopping.wait(RETRY_S)

    def _read(self, docker: APIClient, loop: asyncio.AbstractEventLoop) -> None:
        filters = {"type": ["container"], "event": ["die", "oom", "destroy"], "label": self._labels}
        since = f"{self._since_ns // 10**9}.{self._since_ns % 10**9:09d}" if self._since_ns else None
        self._stream = docker.events(since=since, filters=filters, decode=True)
        try:
            self._since_ns = self._since_ns or time.time_ns()
            loop.call_soon_threadsafe(self._set_up, True)
            for event in self._stream:
                at = int(event.get("timeNano") or 0)
                # Docker notes the time before it sends: of two ends at once the later one may come first. An end can be
                # told twice, memory that ran out would be counted twice.
                if at > self._seen_ns or not at or event.get("Action") != "oom":
                    loop.call_soon_threadsafe(self._take, event)
                self._since_ns = self._seen_ns = max(self._seen_ns, at)
                if self._stopping.is_set():
                    return
        except RuntimeError:  # the loop is closed
            self._stopping.set()
        finally:
            stream, self._stream = self._stream, None
            with contextlib.suppress(OSError, AttributeError, DockerException):
                stream.close()

    def _take(self, event: dict[str, Any]) -> None:
        actor = event.get("Actor") or {}
        watched = self._watched.get(str(actor.get("ID")))
        if watched is None:
            return
        action = event.get("Action")
        if action == "oom":
            watched.ran_out_of_memory()
        elif action == "die":
            watched.died(_status((actor.get("Attributes") or {}).get("exitCode")))
        elif action == "destroy":
            watched.removed()

    def _set_up(self, up: bool) -> None:
        for event, on in ((self._up, up), (self._down, not up)):
            event.set() if on else event.clear()

    async def _look_forever(self) -> None:
        """A look at every reconnect, and every ``LOOK_S`` for as long as the stream is down."""
        while not self._stopping.is_set():
            looked = await self._try_to_look()
            if self._up.is_set() and looked:
                await self._down.wait()
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await (self._down if self._up.is_set() else self._up).wait()

    async def _try_to_look(self) -> bool:
        try:
            await self._look()
        except RunnerError as error:
            log.debug("looking at the containers: %s", error.detail)
            return False
        return True

    async def _look(self) -> None:
        if not self._watched:
            return
        filters = {"label": self._labels}
        asked = dict(self._watched)
        found = await self._engine.call("list", lambda docker: docker.containers(all=True, filters=filters))
        states = {str(one["Id"]): str(one.get("State")) for one in found}
        for container, watched in asked.items():
            state = states.get(container)
            if state is None:
                watched.removed()
            elif state in ("exited", "dead", "removing"):
                await self._look_at(watched)

    async def _look_at(self, watched: Watched) -> None:
        try:
            found = await self._engine.call("inspect", lambda docker: docker.inspect_container(watched.id))
        except EngineError as error:
            if not error.gone:
                raise
            watched.removed()
        else:
            state = found["State"]
            watched.died(_status(state.get("ExitCode")), oom=bool(state.get("OOMKilled")))


def _status(value: object) -> int:
    """Docker says it as text in events and as a number elsewhere."""
    return int(value) if isinstance(value, (int, str)) and str(value).lstrip("-").isdigit() else KILLED
