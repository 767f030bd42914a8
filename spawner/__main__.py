"""``python -m spawner``: the spawner, until SIGTERM. ``--healthcheck`` asks the running one, and Docker through it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Final

from spawner.engine import Engine
from spawner.errors import SpawnerError
from spawner.serving import serve
from spawner.settings import SpawnerSettings, load_settings

HEALTH_S: Final = 4.0


def main() -> int:
    """0 after a clean end, 1 where something was left, 2 where it can't start (with one line that says why)."""
    parser = argparse.ArgumentParser(prog="python -m spawner", description="A checked door to Docker for the sidecar.")
    parser.add_argument("--healthcheck", action="store_true", help="ask the spawner that runs; status 0: all is well")
    if parser.parse_args().healthcheck:
        return asyncio.run(_healthcheck())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        return 0 if asyncio.run(serve(load_settings())) else 1
    except SpawnerError as error:
        sys.stderr.write(f"spawner: {error}\n")
        return 2


async def _healthcheck() -> int:
    """Needs none of the other settings: only the socket."""
    default = str(SpawnerSettings.model_fields["spawner_socket"].default)
    path = Path(os.environ.get("OPEN_PERSONA_SPAWNER_SOCKET") or default)
    try:
        async with Engine(path) as spawner:
            answer = await spawner.call("GET", "/_ping", deadline_s=HEALTH_S)
    except SpawnerError as error:
        sys.stderr.write(f"spawner: {error}\n")
        return 1
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
