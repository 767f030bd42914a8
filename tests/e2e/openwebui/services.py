"""The hub, the sidecar and the integrations, each as a process that a test can stop and start again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import yaml

from open_persona.toolchain import OPENCODE, RIPGREP, ensure, tools_folder
from tests.e2e.openwebui.stock_webui import ROOT, eventually
from tests.e2e.process.deployment import free_port, write_manifest

SIDECAR_KEY = "sidecar-key-for-tests"
SERVER = '''"""A server with one tool."""

from pathlib import Path

from mcp.server import MCPServer

from mcp_servers.kit.app import create_app
from mcp_servers.kit.integration import READ, Integration
from mcp_servers.kit.serve import serve

INTEGRATION = Integration.from_folder(Path(__file__).parent)


def find(words: str) -> str:
    return words


def build_app():
    server = MCPServer(INTEGRATION.name, title=INTEGRATION.title)
    server.add_tool(find, description="Finds.", annotations=READ)
    return create_app(server, name=INTEGRATION.name)


if __name__ == "__main__":
    serve(build_app, name=INTEGRATION.name, default_port=INTEGRATION.transport.port)
'''


@dataclass
class Service:
    """One process; ``ready`` answers 200 once it serves."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    ready: str
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it unless it runs; returns when it serves."""
        if self.process is None:
            with self.log.open("ab") as log:
                command = (sys.executable, "-P", "-m", *self.command)
                self.process = subprocess.Popen(command, env=dict(self.environment), stdout=log, stderr=log)
        if self.ready:
            eventually(self._serves, within=30, what=f"{self.command} serves; see {self.log}")

    def _serves(self) -> bool:
        try:
            return httpx.get(self.ready, timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
            self.process = None


def restart(service: Service) -> None:
    service.stop()
    service.start()


@dataclass
class Services:
    """All of them, none started yet. ``root`` holds the integrations' folders, ``personas`` the templates."""

    folder: Path
    more: Mapping[str, str] = field(default_factory=dict)
    hub_port: int = field(default_factory=free_port)
    sidecar_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.root = self.folder / "mcp_servers"
        self.root.mkdir(parents=True)
        self.personas = self.folder / "personas"
        shutil.copytree(ROOT / "sidecar" / "personas", self.personas)
        self.ports: dict[str, int] = {}
        home, tools = self.folder / "home", tools_folder(self.folder)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "OPEN_PERSONA_HOME": str(home),
            "OPEN_PERSONA_MCP_SERVERS_DIR": str(self.root),
            "OPEN_PERSONA_PERSONAS_DIR": str(self.personas),
            "OPEN_PERSONA_HUB_PORT": str(self.hub_port),
            "OPEN_PERSONA_HUB_URL": self.hub_url,
            "OPEN_PERSONA_SIDECAR_PORT": str(self.sidecar_port),
            "OPEN_PERSONA_SIDECAR_API_KEY": SIDECAR_KEY,
            "OPEN_PERSONA_SERVICE_KEY": "service-key-for-tests",
            "OPEN_PERSONA_TOKEN_KEY": "token-key-for-tests",
            "OPEN_PERSONA_OPENCODE_BIN": str(ensure(OPENCODE, tools, {}, lambda _: None)),
            "OPEN_PERSONA_RIPGREP_BIN": str(ensure(RIPGREP, tools, {}, lambda _: None)),
            **self.more,
        }
        self.hub = self._service("hub", environment, f"{self.hub_url}/readyz")
        self.sidecar = self._service("sidecar", environment, f"http://127.0.0.1:{self.sidecar_port}/healthz")
        self.integrations = self._service("mcp_servers", environment, "")

    def _service(self, module: str, environment: Mapping[str, str], ready: str) -> Service:
        return Service((module,), environment, ready, self.folder / f"{module}.log")

    @property
    def hub_url(self) -> str:
        return f"http://127.0.0.1:{self.hub_port}"

    @property
    def for_webui(self) -> dict[str, str]:
        """What Open WebUI's environment says of them."""
        return {
            "OPEN_PERSONA_HUB_URL": self.hub_url,
            "OPEN_PERSONA_SIDECAR_PORT": str(self.sidecar_port),
            "OPEN_PERSONA_SIDECAR_API_KEY": SIDECAR_KEY,
        }

    def add(self, name: str, **manifest: object) -> None:
        """An integration's folder, or the same one with another manifest."""
        port = self.ports.setdefault(name, free_port())
        write_manifest(self.root, name, port, {"find": "read"}, **manifest)
        (self.root / name / "server.py").write_text(SERVER)

    def add_shipped(self, name: str) -> None:
        """An integration as it ships, on a free port."""
        folder = self.root / name
        shutil.copytree(ROOT / "mcp_servers" / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
        manifest = yaml.safe_load((folder / "manifest.yaml").read_text())
        manifest["transport"]["port"] = self.ports.setdefault(name, free_port())
        (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest))

    def remove(self, name: str) -> None:
        shutil.rmtree(self.root / name)

    def start(self) -> None:
        for service in (self.integrations, self.hub, self.sidecar):
            service.start()

    def stop(self) -> None:
        for service in (self.sidecar, self.hub, self.integrations):
            service.stop()
