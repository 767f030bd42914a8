"""Any ASGI app on a loopback port of its own, served by uvicorn in the running event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

Message = MutableMapping[str, Any]
AsgiApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0


class _Server(uvicorn.Server):
    """uvicorn that says when it listens, leaves the process's signals alone, and ends without pauses of 0.1 s."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.stopping = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.stopping.wait()

    async def _wait_tasks_to_complete(self) -> None:
        while (self.server_state.connections or self.server_state.tasks) and not self.force_exit:
            await asyncio.sleep(0.002)
        for server in self.servers:
            await server.wait_closed()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


def _bound_socket(port: int, host: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


@asynccontextmanager
async def serve_app(app: AsgiApp, *, port: int = 0, graceful_s: int = 1, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Serve ``app`` while the block runs; gives ``http://127.0.0.1:<port>``.

    Requests still open at the end get ``graceful_s`` seconds, then they are cancelled.
    Raises ``RuntimeError`` if the app does not start within ``START_TIMEOUT_S``.
    """
    listener = _bound_socket(port, host)
    config = uvicorn.Config(
        app, lifespan="on", log_level="warning", access_log=False, timeout_graceful_shutdown=graceful_s, ws="none"
    )
    server = _Server(config)
    # _serve, not serve: serve() takes over SIGINT and SIGTERM of the test run.
    serving = asyncio.create_task(server._serve([listener]), name="serve_app")
    listening = asyncio.create_task(server.listening.wait())
    try:
        await asyncio.wait({serving, listening}, timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if not server.listening.is_set() or not server.started:
            raise RuntimeError("the app did not start")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listening.cancel()
        server.should_exit = True
        server.stopping.set()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await serving
        finally:
            listener.close()
