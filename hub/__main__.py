"""``python -m hub``: serve the hub until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys

import uvicorn
import uvloop

from hub.app import create_app, open_hub
from hub.errors import HubError
from hub.routes import Hub
from hub.settings import HubSettings, load_settings

logger = logging.getLogger("hub")

GRACE_S = 3
"""Seconds that open requests get when the hub stops."""

KEEP_ALIVE_S = 75
"""Longer than a runner's HTTP client keeps an idle connection, so that it never sends into a closed one."""


class HubServer(uvicorn.Server):
    """Ends the event streams and the calls in flight first: uvicorn waits for every open response."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.events.close()
        self._hub.gateway.stop()
        await super().shutdown(sockets)


async def serve(settings: HubSettings) -> None:
    """Serve until a signal.

    Raises:
        SettingsError, HistoryError: the hub can't start.
    """
    async with open_hub(settings) as hub:
        config = uvicorn.Config(
            create_app(hub),
            host=settings.hub_host,
            port=settings.hub_port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        await HubServer(config, hub).serve()


def main() -> int:
    """Serve; 0 after a clean stop, 1 when the hub can't start (with one line that says why)."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # uvicorn raises the signal again after its clean shutdown; ending by it would look like a crash.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(load_settings()))
    except HubError as error:
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
