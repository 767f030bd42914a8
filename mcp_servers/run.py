"""``python -m mcp_servers.run FOLDER``: run the ``server.py`` of one integration folder, wherever it lies.

A folder of this package runs as ``mcp_servers.<name>.server``. Any other one becomes a package of its own, so that
its modules can import each other relatively and cannot be mistaken for a module of the same name elsewhere.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

_OURS = Path(__file__).resolve().parent
_PREFIX = "open_persona_integration_"


def server_module(folder: Path) -> str:
    """The importable name of the folder's server; for a folder outside this package its package is made first."""
    folder = folder.resolve()
    if folder.parent == _OURS:
        return f"mcp_servers.{folder.name}.server"
    package = _PREFIX + folder.name
    if package not in sys.modules:
        spec = _package_spec(package, folder)
        module = importlib.util.module_from_spec(spec)
        sys.modules[package] = module
        if spec.loader is not None:
            spec.loader.exec_module(module)
    return f"{package}.server"


def _package_spec(package: str, folder: Path) -> ModuleSpec:
    init = folder / "__init__.py"
    if init.is_file():
        spec = importlib.util.spec_from_file_location(package, init, submodule_search_locations=[str(folder)])
        if spec is not None:
            return spec
    spec = ModuleSpec(package, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    return spec


def main() -> None:
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "server.py").is_file():
        sys.exit(f"usage: python -m mcp_servers.run FOLDER, where FOLDER/server.py exists (got {sys.argv[1:]})")
    module = server_module(Path(sys.argv[1]))
    sys.argv = [str(Path(sys.argv[1]) / "server.py")]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
