"""A small public internet: names, public addresses, and behind them real HTTP servers on loopback.

``async with running_internet() as internet`` gives the seam of the web integration. The address check is the real
one: it sees the public addresses that the names resolve to, and only the last step, the connection, goes to loopback.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpcore

Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]

SITE = "93.184.216.34"
"""The public address that the server stands behind, on the ports 80 and 443."""


@dataclass
class FakeInternet:
    """``answers`` are by path; ``names`` give each lookup's addresses in turn, the last one for good."""

    plain_port: int = 0
    tls_port: int = 0
    names: dict[str, list[Sequence[str]]] = field(default_factory=dict)
    answers: dict[str, Respond] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    lookups: list[str] = field(default_factory=list)
    connected: list[tuple[str, int]] = field(default_factory=list)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.lookups.append(host)
        turns = self.names.get(host, [])
        if not turns:
            raise OSError("no such name")
        return turns.pop(0) if len(turns) > 1 else turns[0]

    async def connect(self, address: str, port: int, timeout: float | None) -> httpcore.AsyncNetworkStream:
        self.connected.append((address, port))
        if address != SITE:
            raise httpcore.ConnectError("nothing there")
        real = self.tls_port if port == 443 else self.plain_port
        return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", real, timeout=timeout)

    def site(self, host: str, *turns: Sequence[str]) -> None:
        self.names[host] = list(turns or [[SITE]])

    def serve(
        self, path: str, body: bytes | str = b"", *, status: str = "200 OK", kind: str = "text/html", **headers: str
    ) -> None:
        """Answer ``path`` with this; header names are written with ``_`` for ``-``."""
        content = body.encode() if isinstance(body, str) else body
        lines = {"Content-Type": kind, "Content-Length": str(len(content)), **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items() if value)

        async def respond(writer: asyncio.StreamWriter) -> None:
            writer.write(f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + content)

        self.answers[path] = respond

    def redirect(self, path: str, location: str, status: int = 302) -> None:
        self.serve(path, status=f"{status} Moved", Location=location)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path = head[0].split(" ")[1]
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            self.requests.append((path, headers))
            if respond := self.answers.get(path):
                await respond(writer)
            else:
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        writer.close()


@asynccontextmanager
async def running_internet(tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeInternet]:
    """The name ``site.example`` is there from the start; ``tls`` is the server's side of port 443."""
    internet = FakeInternet()
    internet.site("site.example")
    handlers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers[task] = writer
        with suppress(asyncio.CancelledError):  # at the end; asyncio would report it
            await internet.answer(reader, writer)

    servers = [await asyncio.start_server(handle, "127.0.0.1", 0)]
    if tls is not None:
        servers.append(await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls))
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    internet.plain_port, internet.tls_port = ports[0], ports[-1]
    try:
        yield internet
    finally:
        for server in servers:
            server.close()
        for task, writer in handlers.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        await asyncio.sleep(0)  # for the transports to be told that they are closed
