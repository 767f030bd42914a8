"""uvicorn for the sidecar: told to stop, it ends running answers as answers end, and only then the connections."""

from __future__ import annotations

import asyncio
import socket

import uvicorn

from sidecar.app import create_app
from sidecar.settings import Settings
from sidecar.streaming import finish_turns

TURN_GRACE_S = 4.0
"""How long a running answer may go on; then it ends with a message."""

CONNECTION_GRACE_S = 6
"""How long connections may stay open: longer than answers, shorter than what whoever stops us waits before it kills."""


class SidecarServer(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await asyncio.gather(super().shutdown(sockets), finish_turns(TURN_GRACE_S))


def make_server(settings: Settings) -> SidecarServer:
    """A server on the settings' host and port; ``run`` serves until SIGINT or SIGTERM."""
    return SidecarServer(
        uvicorn.Config(
            create_app(settings),
            host=settings.sidecar_host,
            port=settings.sidecar_port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=CONNECTION_GRACE_S,
        )
    )
