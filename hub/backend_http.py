"""HTTP/1.1 to the backends of tool calls, over kept connections.

A call through the gateway has to cost little more than the call itself, and with a general HTTP client half of what it
adds is the client's. This one does what the gateway needs: POST, without redirects, cookies, proxies or compression.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from aiohappyeyeballs import AddrInfoType, start_connection

from hub.addresses import connectable
from hub.backend_connection import Connection

KEEP_S = 2.0
"""An idle connection is closed after this time: before a server does it (uvicorn after 5 s)."""

NEXT_ADDRESS_S = 0.25
"""How long one address of several may take before the next is tried too, as aiohttp does for the probes."""


@dataclass(frozen=True)
class Place:
    """Where a URL leads. ``head`` is the start of every request there."""

    host: str
    port: int
    tls: bool
    head: bytes


@functools.lru_cache(maxsize=1024)
def place_of(url: str) -> Place:
    """Raises ValueError for what is no HTTP URL."""
    parts = urlsplit(url)
    host, tls = parts.hostname, parts.scheme == "https"
    if not host or parts.scheme not in ("http", "https") or not url.isascii() or not url.isprintable():
        raise ValueError("not an HTTP URL")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    named = parts.netloc.rpartition("@")[2]
    head = f"POST {target} HTTP/1.1\r\nHost: {named}\r\nAccept-Encoding: identity\r\nUser-Agent: open-persona-hub\r\n"
    return Place(host, parts.port or (443 if tls else 80), tls, head.encode())


@dataclass(frozen=True)
class Reply:
    """The answer to one request. Leave it with :meth:`leave`, or :meth:`close` it: one of them, always."""

    status: int
    headers: Mapping[bytes, bytes]
    connection: Connection

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises ``BackendLostError`` or ``BackendGarbledError``."""
        while chunk := await self.connection.chunk():
            yield chunk

    def leave(self) -> None:
        self.connection.leave()

    def close(self) -> None:
        self.connection.close()


class BackendHttp:
    """The connections to all backends. :meth:`close` ends them."""

    def __init__(self) -> None:
        self._idle: dict[Place, list[Connection]] = defaultdict(list)
        self._busy: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send a request and wait for the head of its answer.

        Raises:
            BackendLostError, OSError: no connection, or it broke. A kept connection that was found closed is not told.
            BackendGarbledError, ValueError: the answer is not HTTP, or a header can't be sent.
        """
        place = place_of(url)
        request = place.head + _lines(headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body
        connection = self._kept(place) or await _connect(place)
        self._busy.add(connection)
        connection.send(request, functools.partial(self._ended, place))
        try:
            status, seen = await connection.head()
        except BaseException:
            connection.close()
            raise
        return Reply(status, seen, connection)

    def close(self) -> None:
        """End every connection, in use or not."""
        for connection in (*self._busy, *(one for kept in self._idle.values() for one in kept)):
            connection.close()
        self._idle.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _kept(self, place: Place) -> Connection | None:
        kept, oldest = self._idle[place], asyncio.get_running_loop().time() - KEEP_S
        while kept:
            connection = kept.pop()
            if connection.alive and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    def _ended(self, place: Place, connection: Connection) -> None:
        self._busy.discard(connection)
        if not connection.reusable:
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle[place].append(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(KEEP_S, self._sweep)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        oldest, self._sweeper = loop.time() - KEEP_S, None
        for place, kept in list(self._idle.items()):
            fresh = [one for one in kept if one.alive and one.idle_since > oldest]
            for connection in kept:
                if connection not in fresh:
                    connection.close()
            if fresh:
                self._idle[place] = fresh
                self._sweeper = self._sweeper or loop.call_later(KEEP_S, self._sweep)
            else:
                del self._idle[place]


@functools.cache
def _trust() -> ssl.SSLContext:
    """Made once: it costs about 30 ms."""
    return ssl.create_default_context()


async def _connect(place: Place) -> Connection:
    loop = asyncio.get_running_loop()
    addresses = await connectable(place.host, place.port)
    if len(addresses) == 1:
        where: dict[str, Any] = {"host": addresses[0], "port": place.port}
    else:
        where = {"sock": await _first_to_take_it(addresses, place.port)}
    tls: dict[str, Any] = {"ssl": _trust(), "server_hostname": place.host} if place.tls else {}
    _, connection = await loop.create_connection(Connection, **where, **tls)
    return connection


async def _first_to_take_it(addresses: Sequence[str], port: int) -> socket.socket:
    """An address that lets packets vanish is not waited for: the next one is tried beside it."""
    infos: list[AddrInfoType] = [
        (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (one, port))
        for one in addresses
    ]
    return await start_connection(infos, happy_eyeballs_delay=NEXT_ADDRESS_S)


def _lines(headers: Mapping[str, str]) -> bytes:
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"{name} holds what no header can")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("ascii")
