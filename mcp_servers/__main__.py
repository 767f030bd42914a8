"""``python -m mcp_servers [--root DIR]``: run every integration whose folder is in DIR."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from pathlib import Path

from mcp_servers.kit.serve import HOST_ENV, log_level
from mcp_servers.launcher import OUR_ROOT, ROOT_ENV, launch


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m mcp_servers", description="Run one MCP server per folder.")
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(os.environ.get(ROOT_ENV) or OUR_ROOT),
        help=f"the folder that holds the integrations' folders (default: {ROOT_ENV}, else the ones that come along)",
    )
    root: Path = parser.parse_args().root
    if not root.is_dir():
        parser.error(f"--root: {root} is not a directory")
    logging.basicConfig(level=log_level(os.environ), format="[launcher] %(levelname)s %(message)s")
    asyncio.run(launch(root.resolve(), os.environ.get(HOST_ENV) or "127.0.0.1"))


if __name__ == "__main__":
    main()
