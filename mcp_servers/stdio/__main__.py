"""``python -m mcp_servers.stdio FOLDER``: serve the program of one ``command`` manifest over HTTP."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mcp_servers.kit.integration import ManifestError
from mcp_servers.kit.serve import serve
from mcp_servers.stdio.bridge import Bridge
from mcp_servers.stdio.recipe import read_recipe


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m mcp_servers.stdio FOLDER")
    try:
        recipe = read_recipe(Path(sys.argv[1]).resolve())
    except ManifestError as error:
        sys.exit(str(error))
    port = recipe.integration.transport.port
    serve(lambda: Bridge(recipe, os.environ).app(), name=recipe.name, default_port=port or 0)


if __name__ == "__main__":
    main()
