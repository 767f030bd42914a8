"""The local stack: services as child processes, ready or a clear error, and none left behind at the end.

A service that ends later is started again by :class:`mcp_servers.child.Child`; one that ends before it was ever ready
is an error. Children die with this process, however it ends.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Callable, Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from mcp_servers.child import Child, RestartPolicy
from open_persona.errors import PortTaken, ServiceFailed
from open_persona.home import unwritable
from open_persona.ports import holder_of, is_taken
from open_persona.services import Listener, Service

POLL_S = 0.1
TELL_S = 15.0
"""A service that is not ready yet is named this often."""
ANSWER_DEADLINE_S = 2.0
STOP_GRACE_S = 15.0
"""Between SIGTERM and SIGKILL: longer than the sidecar and the launcher take to end what they run, so that nothing is
cut off that ends by itself. A second Ctrl-C does not wait for it."""
LAST_LINES = 15
LOG_BYTES = 2_000_000

Say = Callable[[str], None]
"""Takes one line for the person at the terminal."""


def check_ports(services: Sequence[Service]) -> None:
    """Raises ``PortTaken``, which names every taken port, who has it as far as known, and what moves it."""
    listeners = [listener for service in services for listener in service.listeners]
    taken = [listener for listener in listeners if is_taken(listener.host, listener.port)]
    if taken:
        raise PortTaken("\n".join(_taken(listener) for listener in taken))


def _taken(listener: Listener) -> str:
    holder = holder_of(listener.port)
    who = f"is used by {holder}" if holder else "is used by another program"
    return f"Port {listener.port} ({listener.name}) {who}. Stop that, or change {listener.setting}."


class Stack:
    """``async with Stack(...) as stack: await stack.ready()``. Each service's output goes to ``<logs>/<name>.log``.
    Raises ``HomeRefused`` where that folder can't be made.

    Once all are ready, ``say`` gets a line whenever one ends or starts again; ``echo`` (if given) gets every line that
    they write.
    """

    def __init__(
        self, services: Sequence[Service], logs: Path, *, say: Say, echo: Callable[[str, str], None] | None = None
    ) -> None:
        self._services = services
        self._say = say
        self._children = {service.name: self._child(service, logs, echo) for service in services}
        self._tasks: list[asyncio.Task[None]] = []
        self._quiet = True

    async def __aenter__(self) -> Self:
        """Starts every service. Raises ``PortTaken`` before any was started."""
        check_ports(self._services)
        self._tasks = [asyncio.create_task(one.child.run(), name=name) for name, one in self._children.items()]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Returns when nothing of the stack is left."""
        self._quiet = True
        try:
            await asyncio.gather(*(one.child.stop() for one in self._children.values() if one.child.state != "new"))
        finally:
            for task in self._tasks:
                task.cancel()  # nothing to cancel, unless the wait was cut short: then SIGKILL follows at once
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for one in self._children.values():
                one.close()

    async def ready(self, deadline_s: float | None = None) -> None:
        """Returns when every listener answers. ``deadline_s``: for all of them, in place of each one's own.

        Raises ``ServiceFailed`` with the last lines of a service that ended or is not ready in time.
        """
        async with httpx.AsyncClient(trust_env=False, timeout=ANSWER_DEADLINE_S) as http:
            waits = [
                asyncio.create_task(self._answers(service, listener, http, deadline_s or listener.ready_s))
                for service in self._services
                for listener in service.listeners
            ]
            try:
                await asyncio.gather(*waits)
            finally:
                for wait in waits:
                    wait.cancel()
                await asyncio.gather(*waits, return_exceptions=True)
        self._quiet = False

    def states(self) -> dict[str, str]:
        """Name of each service to the state of its process."""
        return {name: one.child.state for name, one in self._children.items()}

    async def _answers(self, service: Service, listener: Listener, http: httpx.AsyncClient, deadline_s: float) -> None:
        one = self._children[service.name]
        clock = asyncio.get_running_loop().time
        begun = told = clock()
        try:
            async with asyncio.timeout(deadline_s):
                while not await _is_ready(http, listener.ready):
                    if one.child.starts > 1 or one.child.state == "backoff":
                        raise ServiceFailed(f"The {service.name} {one.child.problem} at its start.\n{one.tail()}")
                    if clock() - told >= TELL_S:
                        told = clock()
                        self._say(f"Waiting for {listener.name} ({told - begun:.0f} s) ...")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise ServiceFailed(
                f"The {listener.name} did not answer at {listener.ready} within {deadline_s:g} s.\n{one.tail()}"
            ) from None

    def _child(self, service: Service, logs: Path, echo: Callable[[str, str], None] | None) -> _Logged:
        logged = _Logged(service.name, logs / f"{service.name.replace(' ', '-')}.log", echo, self._say)
        logged.child = Child(
            service.name,
            service.command,
            service.environment,
            output=logged.line,
            on_change=self._changed,
            cwd=logs.parent,
            policy=RestartPolicy(stop_grace_s=STOP_GRACE_S),
        )
        return logged

    def _changed(self, child: Child) -> None:
        if self._quiet:
            return
        if child.state == "backoff":
            self._say(f"The {child.name} {child.problem}; it is started again in {child.retry_in_s:g} s.")
        elif child.state == "running" and child.starts > 1:
            self._say(f"The {child.name} runs again (pid {child.pid}).")


class _Logged:
    """A child with its log file and its last lines."""

    child: Child

    def __init__(self, name: str, file: Path, echo: Callable[[str, str], None] | None, say: Say) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise unwritable(file.parent, error) from None
        self._name = name
        self._echo = echo
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._handler = _LogFile(file, say)
        self.file = file

    def line(self, text: str) -> None:
        """One line of the service's output."""
        self._last.append(text)
        self._handler.emit(logging.LogRecord(self._name, logging.INFO, "", 0, text, None, None))
        if self._echo is not None:
            self._echo(self._name, text)

    def tail(self) -> str:
        """The last lines, and where the others are."""
        return "\n".join([*(f"  {line}" for line in self._last), f"All of its output: {self.file}"])

    def close(self) -> None:
        self._handler.close()


class _LogFile(RotatingFileHandler):
    """A log that can't be written (a full disk) is told once; the service goes on."""

    def __init__(self, file: Path, say: Say) -> None:
        super().__init__(file, maxBytes=LOG_BYTES, backupCount=1, delay=True)
        self._say = say
        self._told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002 - logging's name and argument
        self._tell(sys.exception())

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:  # what was left to be written
            self._tell(error)

    def _tell(self, error: BaseException | None) -> None:
        if not self._told:
            self._told = True
            self._say(f"{self.baseFilename} can't be written: {getattr(error, 'strerror', None) or error}.")


async def _is_ready(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
