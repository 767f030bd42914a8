"""A Docker socket in front of the real one that fails as it is told to: refuses, answers 500, or takes its time."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

REAL = "/var/run/docker.sock"
BODY = b'{"message":"planted failure"}'
ERROR = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


@dataclass
class FaultyDaemon:
    """``fails`` and ``slow`` are patterns of ``METHOD /path``; what neither names is passed on."""

    socket: Path
    fails: str = ""
    slow: str = ""
    slow_s: float = 0
    seen: list[str] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    async def up(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self.socket))

    async def down(self) -> None:
        """Like a daemon that ends: what was open is cut."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.socket.unlink(missing_ok=True)
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            request = head.split(b"\r\n")[0].decode().rsplit(" ", 1)[0]
            self.seen.append(request)
            if self.slow and re.search(self.slow, request):
                await asyncio.sleep(self.slow_s)
            if self.fails and re.search(self.fails, request):
                writer.write(ERROR)
                await writer.drain()
            else:
                await self._pass_on(head, reader, writer)
        self._open.discard(writer)
        writer.close()

    async def _pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request for each connection, so that each is looked at."""
        there, back = await asyncio.open_unix_connection(REAL)
        self._open.add(back)
        back.write(re.sub(rb"\r\nConnection:[^\r]*", b"", head, flags=re.I)[:-2] + b"Connection: close\r\n\r\n")
        upwards = asyncio.create_task(_pipe(reader, back))
        try:
            await _pipe(there, writer)
        finally:
            upwards.cancel()
            await asyncio.gather(upwards, return_exceptions=True)
            self._open.discard(back)
            back.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(65536):
            writer.write(block)
            await writer.drain()


@asynccontextmanager
async def faulty_daemon(socket: Path) -> AsyncIterator[FaultyDaemon]:
    daemon = FaultyDaemon(socket)
    await daemon.up()
    try:
        yield daemon
    finally:
        await daemon.down()
