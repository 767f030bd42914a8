"""The start hook: puts what is ours into Open WebUI as it is imported, and changes none of its files.

``site-packages/open_persona.pth`` has every Python of that environment import this module, so importing it costs
nothing but a finder on ``sys.meta_path``. Right after one of the modules in :data:`HOOKS` was executed, its hook runs.
A hook that cannot do its work ends the program with one sentence: Open WebUI without the patch would forward personas
without their user, keys and toggles.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Hook = Callable[[ModuleType], None]


def _patch_router(module: ModuleType) -> None:
    from . import patch_openai_router

    patch_openai_router.install(module)


def _attach(module: ModuleType) -> None:
    from . import open_persona_seed, status_route, users_route

    open_persona_seed.attach(module.app)
    status_route.attach(module.app)
    users_route.attach(module.app)


HOOKS: Mapping[str, Hook] = {"open_webui.routers.openai": _patch_router, "open_webui.main": _attach}


class AfterImport(MetaPathFinder):
    """Finds the modules of ``hooks`` as the other finders do, and has their hook run after they were executed."""

    def __init__(self, hooks: Mapping[str, Hook]) -> None:
        self._hooks = hooks

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self._hooks:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Hooked(spec.loader, self._hooks[name])
                return spec
        return None


class _Hooked(Loader):
    def __init__(self, loader: Loader, hook: Hook) -> None:
        self._loader = loader
        self._hook = hook

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        try:
            self._hook(module)
        except Exception as error:
            raise SystemExit(f"Open Persona can't be put into Open WebUI: {error}") from error


def install() -> None:
    """Once for a process, however often it is called."""
    if not any(isinstance(finder, AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, AfterImport(HOOKS))


install()
