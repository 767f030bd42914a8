"""Docker's API over its socket. Every call has a deadline; an answer is read whole, up to a limit, or streamed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from spawner.errors import EngineError, EngineTimeout
from spawner.strict_json import shown

CALL_S: Final = 30.0
CONNECT_S: Final = 5.0
MAX_ANSWER: Final = 8 * 2**20
SOCKETS: Final = 64


@dataclass(frozen=True)
class Answer:
    """An answer of Docker's, or one of our own in its shape."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"

    @property
    def ok(self) -> bool:
        return self.status < 400

    def json(self) -> Any:
        """Raises ``EngineError`` where it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise EngineError("Docker's answer can't be read.") from None


def as_answer(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


class Engine:
    """``async with Engine(socket) as engine``; ``path`` always begins with a slash and is made by us."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Engine:
        connector = aiohttp.UnixConnector(str(self._socket), limit=SOCKETS)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        self._http = aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        deadline_s: float = CALL_S,
    ) -> Answer:
        """Docker's answer, whatever its status. Raises ``EngineError``."""
        try:
            async with asyncio.timeout(deadline_s), self.stream(method, path, query=query, body=body) as response:
                content = await response.content.read(MAX_ANSWER + 1)
                while len(content) <= MAX_ANSWER and (more := await response.content.read(MAX_ANSWER)):
                    content += more
                if len(content) > MAX_ANSWER:
                    raise EngineError("Docker's answer is too long.")
                return Answer(response.status, content, response.content_type)
        except TimeoutError:
            raise EngineTimeout(f"Docker did not answer within {deadline_s:g} s.") from None

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer as it comes, with no deadline of its own. Raises ``EngineError``."""
        assert self._http is not None
        url = URL("http://docker" + path + ("?" + urlencode(query) if query else ""), encoded=True)
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data is not None else {}
        try:
            async with self._http.request(
                method, url, data=data, headers=headers, allow_redirects=False, skip_auto_headers=("User-Agent",)
            ) as response:
                yield response
        except aiohttp.ClientError as error:
            raise EngineError(f"Docker can't be reached through its socket ({type(error).__name__}).") from None


def failure(answer: Answer) -> str:
    """Docker's own message in an answer that is an error."""
    try:
        told = json.loads(answer.body)
    except ValueError:
        told = None
    message = told.get("message") if isinstance(told, dict) else None
    return shown(str(message or "Docker gave no reason."), 600)
