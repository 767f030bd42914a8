"""``python -m sidecar``: the sidecar alone, on its host and port."""

from __future__ import annotations

import logging
import sys

import uvicorn

from sidecar.app import create_app
from sidecar.settings import SettingsError, load_settings

GRACE_S = 10


def main() -> int:
    """Serves until it is told to stop; running answers get ``GRACE_S`` seconds to end."""
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.stderr.write(f"sidecar: {error.message}\n")
        return 2
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvicorn.run(
        create_app(settings),
        host=settings.sidecar_host,
        port=settings.sidecar_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
