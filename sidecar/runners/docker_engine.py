"""Docker's HTTP API for a program that never blocks: the SDK's low-level client in a bounded executor of its own.

Every call has a deadline. What fails is an ``EngineError``, whose message says what to do.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import requests
from docker import APIClient
from docker.errors import APIError, DockerException

from sidecar.errors import RunnerError

log = logging.getLogger(__name__)
CALL_S = 20.0
SLACK_S = 5.0
THREADS = 8
DEFAULT_HOST = "unix:///var/run/docker.sock"

Answer = TypeVar("Answer")


class EngineError(RunnerError):
    """``http`` is Docker's own status; 0 when it gave none."""

    def __init__(self, message: str, *, http: int = 0, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.http = http

    @property
    def gone(self) -> bool:
        return self.http == 404

    @property
    def conflicts(self) -> bool:
        return self.http == 409


class Engine:
    """``host`` as in ``OPEN_PERSONA_DOCKER_HOST``; empty is the local socket. Connects at the first call."""

    def __init__(self, host: str = "") -> None:
        self.host = host or DEFAULT_HOST
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="docker")
        self._client: APIClient | None = None
        self._connecting = threading.Lock()
        self._closed = False

    def connect(self) -> APIClient:
        """A client of one's own. Blocks for up to ``CALL_S``; raises ``DockerException``, ``OSError``."""
        self._knock()
        return APIClient(self.host, version="auto", timeout=CALL_S)

    async def call(self, what: str, ask: Callable[[APIClient], Answer], *, extra_s: float = 0) -> Answer:
        """What ``ask`` returns, asked in a thread. ``what`` names the call in errors, with no secret.

        ``extra_s`` is what Docker may take longer than a plain call. Raises ``EngineError``. A call that is given up
        may still take effect later.
        """
        if self._closed:
            raise EngineError("This sidecar is stopping. Send the message again in a moment.", detail=what)
        deadline_s = CALL_S + extra_s + SLACK_S
        try:
            async with asyncio.timeout(deadline_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, ask)
        except APIError as error:
            raise refused(what, error) from None
        except (TimeoutError, requests.Timeout):
            raise self._silent(what) from None
        except (DockerException, requests.RequestException, OSError) as error:
            cause = _root(error)
            slow = isinstance(cause, TimeoutError)
            raise (self._silent(what) if slow else self._unreachable(what, cause)) from None

    def _knock(self) -> None:
        """Raises ``OSError`` where nobody listens. The SDK would leave each such socket to the garbage collector."""
        if self.host.startswith("unix://"):
            with socket.socket(socket.AF_UNIX) as door:
                door.settimeout(CALL_S)
                door.connect(self.host.removeprefix("unix://"))

    def _ask(self, ask: Callable[[APIClient], Answer]) -> Answer:
        self._knock()
        with self._connecting:
            if self._client is None:
                self._client = self.connect()
        return ask(self._client)

    async def close(self) -> None:
        """Waits for no call that still runs."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    def _silent(self, what: str) -> EngineError:
        return EngineError(
            "The container engine (Docker) is too slow at the moment. Send the message again in a minute; "
            "if it stays so, your operator finds the cause with 'open-persona doctor'.",
            detail=f"{what}: {self.host} did not answer within {CALL_S:g} s",
        )

    def _unreachable(self, what: str, cause: BaseException) -> EngineError:
        return EngineError(
            "The container engine (Docker) can't be reached. Your operator has to start it, and to see that the "
            "sidecar may use it (OPEN_PERSONA_DOCKER_HOST); then send the message again.",
            detail=f"{what}: {self.host}: {type(cause).__name__}: {cause}",
        )


def _root(error: BaseException) -> BaseException:
    """What the SDK and its HTTP library have wrapped."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


def refused(what: str, error: APIError) -> EngineError:
    status = error.response.status_code if error.response is not None else 0
    return EngineError(
        "The container engine (Docker) refused to do its part. Send the message again; "
        "if it stays so, your operator finds the cause with 'open-persona doctor' and in the sidecar's log.",
        http=status,
        detail=f"{what}: HTTP {status}: {error.explanation or error}",
    )
