"""The launcher: one process per integration folder, each kept running, none able to hurt another.

A server is ``server.py`` of the folder, or for ``transport.type: command`` a stdio program of somebody else's behind
HTTP (``mcp_servers.stdio``). The folders are looked at again every ``RESCAN_S`` seconds: a new one is started, a
changed manifest restarts its server alone, and a folder that went away stops its server, which first has a few seconds
to answer what it was asked. A broken manifest stops nothing that runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mcp_servers.child import Child
from mcp_servers.kit.integration import MANIFEST, Integration, ManifestError
from mcp_servers.kit.serve import HOST_ENV, PORT_ENV, listen
from mcp_servers.stdio.recipe import read_recipe

logger = logging.getLogger(__name__)

ROOT_ENV = "OPEN_PERSONA_MCP_SERVERS_DIR"
OUR_ROOT = Path(__file__).resolve().parent
RESCAN_S = 1.0
_OUR_SECRETS = re.compile(
    r"OPEN_PERSONA_(?:SERVICE_KEY|SIDECAR_API_KEY|TOKEN_KEY|RUNNER_TOKEN|DEFAULT_[A-Z0-9_]+_API_KEY)"
)
"""Keys of Open Persona itself, which no server gets, whatever its name. ``hub.transport_rules`` has the same list."""

_SECRET_ENDINGS = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD", "_CREDENTIALS")


@dataclass(frozen=True)
class Spec:
    """One server that should run. ``stamp`` changes when its manifest does."""

    name: str
    folder: Path
    port: int
    stamp: tuple[int, int]
    type: Literal["python", "command"] = "python"


@dataclass(frozen=True)
class Scan:
    """What one look at the folders found: servers to run, and by folder name what is wrong with the others."""

    specs: Mapping[str, Spec]
    problems: Mapping[str, str]


def scan(root: Path) -> Scan:
    """Read every ``<root>/<folder>/manifest.yaml``. A bad one becomes a problem (file and reason) and nothing else.

    Of two manifests with one port, the first by name gets it.
    """
    specs: dict[str, Spec] = {}
    problems: dict[str, str] = {}
    taken: dict[int, str] = {}
    try:
        folders = sorted(folder for folder in root.iterdir() if (folder / MANIFEST).is_file())
    except OSError as error:
        return Scan({}, {"": f"{root}: {error.strerror or error}"})
    for folder in folders:
        try:
            spec = _spec(folder, taken)
        except ManifestError as error:
            problems[folder.name] = str(error)
            continue
        if spec is not None:
            taken[spec.port] = spec.name
            specs[spec.name] = spec
    return Scan(specs, problems)


def _spec(folder: Path, taken: Mapping[int, str]) -> Spec | None:
    """None for an integration that this launcher has nothing to start for."""
    manifest = folder / MANIFEST
    try:
        status = manifest.stat()
    except OSError as error:
        raise ManifestError(f"{manifest}: {error.strerror or error}") from error
    stamp = (status.st_mtime_ns, status.st_size)
    transport = _read(folder, stamp).transport
    if transport.type == "http" or transport.port is None:
        return None
    if transport.type == "python" and not (folder / "server.py").is_file():
        raise ManifestError(f"{folder / 'server.py'}: is missing (transport.type is 'python')")
    if transport.port in taken:
        raise ManifestError(f"{manifest}: transport.port: {transport.port} is already used by {taken[transport.port]}")
    return Spec(folder.name, folder, transport.port, stamp, transport.type)


@functools.lru_cache(maxsize=256)
def _read(folder: Path, stamp: tuple[int, int]) -> Integration:  # noqa: ARG001 (the stamp makes a changed file be read again)
    integration = Integration.from_folder(folder)
    if integration.transport.type == "command":
        read_recipe(folder)
    return integration


@dataclass
class _Running:
    spec: Spec
    child: Child
    task: asyncio.Task[None]


class Launcher:
    """Keeps what runs equal to what the folders say, until ``stop``."""

    def __init__(self, root: Path, *, host: str = "127.0.0.1", rescan_s: float = RESCAN_S) -> None:
        self._root = root
        self._host = host
        self._rescan_s = rescan_s
        self._running: dict[str, _Running] = {}
        self._known_problems: Mapping[str, str] = {}
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Ask ``run`` to end; safe to call from a signal handler of the loop, more than once."""
        self._stop.set()

    async def run(self) -> None:
        """Start and watch the servers; when it returns or is cancelled, all of them are gone."""
        logger.info("integrations are read from %s", self._root)
        try:
            while not self._stop.is_set():
                await self._reconcile()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._rescan_s):
                        await self._stop.wait()
        finally:
            await self._end(list(self._running))

    async def _reconcile(self) -> None:
        found = scan(self._root)
        self._report(found.problems)
        # A manifest that is broken just now (half written, say) leaves its running server alone.
        outdated = [
            name
            for name, running in self._running.items()
            if found.specs.get(name) != running.spec and not {name, ""} & found.problems.keys()
        ]
        await self._end(outdated)
        for name, spec in found.specs.items():
            if name not in self._running:
                self._start(spec)

    def _start(self, spec: Spec) -> None:
        child = Child(
            spec.name,
            _command(spec),
            server_environment(spec, os.environ, self._host),
            on_change=lambda it: self._changed(spec, it),
        )
        task = asyncio.create_task(child.run(), name=f"integration {spec.name}")
        self._running[spec.name] = _Running(spec, child, task)

    async def _end(self, names: list[str]) -> None:
        ending = [self._running.pop(name) for name in names]
        await asyncio.gather(*(running.child.stop() for running in ending))
        await asyncio.gather(*(running.task for running in ending), return_exceptions=True)

    def _changed(self, spec: Spec, child: Child) -> None:
        if child.state == "running":
            logger.info("%s: started on port %d (pid %d)", spec.name, spec.port, child.pid)
        elif child.state == "backoff":
            why = port_problem(self._host, spec.port) or f"it {child.problem}"
            file = spec.folder / MANIFEST
            logger.error("%s: down, next try in %.1f s (%s): %s", spec.name, child.retry_in_s, file, why)
        elif child.state == "stopped":
            logger.info("%s: stopped", spec.name)

    def _report(self, problems: Mapping[str, str]) -> None:
        """Each problem once, and again only after it had gone."""
        for folder, problem in problems.items():
            if self._known_problems.get(folder) != problem:
                logger.error("not started: %s", problem)
        self._known_problems = problems


def _command(spec: Spec) -> list[str]:
    # -P: a module in the working directory must not stand in for one of ours.
    module = "mcp_servers.stdio" if spec.type == "command" else "mcp_servers.run"
    return [sys.executable, "-P", "-m", module, str(spec.folder)]


def server_environment(spec: Spec, environ: Mapping[str, str], host: str) -> dict[str, str]:
    """The launcher's environment without what is none of this server's business.

    Of our own variables it gets those of all servers (``OPEN_PERSONA_MCP_*``) and its own (``OPEN_PERSONA_<NAME>_*``);
    anything else that is named like a secret stays out, so that no server can read another one's key.
    """
    ours = (f"OPEN_PERSONA_{spec.name.upper()}_", "OPEN_PERSONA_MCP_")
    kept = {
        name: value
        for name, value in environ.items()
        if not _OUR_SECRETS.fullmatch(name)
        and (name.startswith(ours) or not (name.startswith("OPEN_PERSONA_") or name.upper().endswith(_SECRET_ENDINGS)))
    }
    path = os.pathsep.join(filter(None, [str(OUR_ROOT.parent), environ.get("PYTHONPATH", "")]))
    return {**kept, "PYTHONPATH": path, HOST_ENV: host, PORT_ENV: str(spec.port)}


def port_problem(host: str, port: int) -> str:
    """What keeps a server from listening there, or nothing."""
    try:
        listen(host, port).close()
    except OSError as error:
        return str(error)
    return ""


async def launch(root: Path, host: str) -> None:
    """Run the launcher until SIGTERM or SIGINT."""
    launcher = Launcher(root, host=host)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, launcher.stop)
    await launcher.run()
