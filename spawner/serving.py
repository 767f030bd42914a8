"""The spawner's life: it listens, answers until it is told to stop, and then takes down what it made."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from spawner import http_log
from spawner.door import Door
from spawner.engine import Engine
from spawner.listening import listen
from spawner.settings import SpawnerSettings
from spawner.sweep import Sweep

log = logging.getLogger("spawner")


async def serve(settings: SpawnerSettings) -> bool:
    """Serves until SIGTERM or SIGINT; whether everything that it owns is gone then. Raises ``SocketError``.

    A spawner that dies leaves its runners alive, and the next one of the same data directory owns them.
    """
    async with Engine(settings.spawner_docker_socket) as engine:
        door = Door(engine, settings)
        server = web.Server(
            door.handle,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            lingering_time=0,
            logger=http_log.LOG,
        )
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=1)
        await runner.setup()
        listener = listen(settings.spawner_socket)
        inode = settings.spawner_socket.stat().st_ino
        try:
            with _told_to_stop() as stop:
                await web.SockSite(runner, listener).start()
                log.info("listens on %s for deployment %s", settings.spawner_socket, settings.deployment)
                await stop.wait()
            log.info("told to stop: removing the runners and their networks")
        finally:
            _remove_own(settings.spawner_socket, inode)
            await door.close()
            await runner.cleanup()
        return await Sweep(engine, settings.deployment).run()


@contextlib.contextmanager
def _told_to_stop() -> Iterator[asyncio.Event]:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        # A second signal must not cut the sweep short.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: None)


def _remove_own(path: Path, inode: int) -> None:
    """Nobody can connect any more. Another spawner may have taken the place already: its socket stays."""
    with contextlib.suppress(OSError):
        if path.stat().st_ino == inode:
            path.unlink()
