"""``python -m spawner``: the spawner, until SIGTERM. ``--healthcheck`` asks the running one, and Docker through it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from spawner.errors import SpawnerError
from spawner.healthcheck import healthcheck


def main() -> int:
    """0 after a clean end, 1 where something was left, 2 where it can't start (with one line that says why)."""
    parser = argparse.ArgumentParser(prog="python -m spawner", description="A checked door to Docker for the sidecar.")
    parser.add_argument("--healthcheck", action="store_true", help="ask the spawner that runs; status 0: all is well")
    return healthcheck() if parser.parse_args().healthcheck else _serve()


def _serve() -> int:
    # Not above: a healthcheck has no use for them, and loading them takes most of its time.
    from spawner.serving import serve
    from spawner.settings import load_settings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        return 0 if asyncio.run(serve(load_settings())) else 1
    except SpawnerError as error:
        sys.stderr.write(f"spawner: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
