"""``python -m sidecar``: the sidecar alone, on its host and port."""

from __future__ import annotations

import logging
import signal
import sys
from typing import cast

from starlette.types import ASGIApp

from sidecar.server import make_server
from sidecar.settings import SettingsError, load_settings
from sidecar.starting import WatchedStart


def main() -> int:
    """Serves until it is told to stop, then 0; 2 where it can't start, with one line that says why."""
    try:
        settings = load_settings()
    except SettingsError as error:
        return _refuse(error.message)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # uvicorn raises the signal again after its clean shutdown; ending by it would look like a crash.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = make_server(settings)
    server.config.app = watched = WatchedStart(cast(ASGIApp, server.config.app), settings.home)
    logging.getLogger("uvicorn.error").addFilter(lambda _: not watched.fault)
    try:
        server.run()
    except KeyboardInterrupt:
        return 0
    except SystemExit:
        if not watched.fault:
            raise
        return _refuse(watched.fault)
    return 0


def _refuse(why: str) -> int:
    sys.stderr.write(f"sidecar: {' '.join(why.split())}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
