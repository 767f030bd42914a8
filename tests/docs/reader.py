"""Somebody who follows a page: a copy of the checkout, a home, free ports, and bash."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from open_persona.ports import free_ports
from tests.docs.pages import Block

ROOT = Path(__file__).resolve().parents[2]
BLOCK_S = 120
READY_S = 90
STOP_S = 40
PAUSE_S = 0.2
_PORTS = ("HUB", "SIDECAR", "WEBUI", "DEMO", "DEMO_UPSTREAM")
_WRITTEN = {"HUB": 7000, "SIDECAR": 8000, "WEBUI": 3000}
"""The ports as a page writes them, which other programs may hold here."""


@dataclass
class Reader:
    """Runs the blocks of one page below ``base``; ``close`` ends what they started."""

    base: Path
    ports: dict[str, int] = field(default_factory=dict)
    services: subprocess.Popen[bytes] | None = None

    @staticmethod
    def at(base: Path) -> Reader:
        reader = Reader(base)
        reader._copy()
        return reader

    @property
    def checkout(self) -> Path:
        return self.base / "open-persona"

    def follow(self, block: Block) -> None:
        """Raises ``AssertionError`` with the output when it does not end as the page promises."""
        if block.up:
            self._start(block)
            return
        deadline = time.monotonic() + (block.within_s or 0)
        while True:
            done = self._run(block)
            if done.returncode == block.exit_code:
                return
            if time.monotonic() >= deadline:
                raise AssertionError(
                    f"line {block.line}: exit code {done.returncode}, not {block.exit_code}\n{done.stdout}"
                )
            time.sleep(PAUSE_S)

    def close(self) -> None:
        """As Ctrl-C in the terminal where the services run."""
        services, self.services = self.services, None
        if services is None:
            return
        services.send_signal(signal.SIGINT)
        try:
            services.wait(STOP_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(services.pid, signal.SIGKILL)

    def _copy(self) -> None:
        """What git has, and what is new: nothing that only this machine has, but for the installed programs."""
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout
        for name in filter(None, listed.split("\0")):
            source, target = ROOT / name, self.checkout / name
            if source.is_file() and not source.is_symlink():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
        for name in (".venv", ".tools"):
            if (ROOT / name).exists():
                (self.checkout / name).symlink_to((ROOT / name).resolve())
        manifests = sorted((self.checkout / "mcp_servers").glob("*/manifest.yaml"))
        numbers = free_ports(len(_PORTS) + len(manifests))
        self.ports = dict(zip(_PORTS, numbers, strict=False))
        for manifest, port in zip(manifests, numbers[len(_PORTS) :], strict=True):
            manifest.write_text(re.sub(r"port: \d+", f"port: {port}", manifest.read_text(), count=1))

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPEN_PERSONA_", "PYTEST_"))}
        ports = {f"OPEN_PERSONA_{name}_PORT": str(port) for name, port in self.ports.items()}
        return {
            **kept,
            **ports,
            "PATH": f"{self.checkout / '.venv' / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.checkout),
            "HOME": str(self.base),
            "OPEN_PERSONA_HOME": str(self.base / "home"),
        }

    def _script(self, block: Block) -> str:
        script = block.script
        for name, written in _WRITTEN.items():
            script = script.replace(f"localhost:{written}", f"127.0.0.1:{self.ports[name]}")
        return f"set -euo pipefail\n{script}\n"

    def _run(self, block: Block) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", self._script(block)],
            cwd=self.checkout,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=BLOCK_S,
        )

    def _start(self, block: Block) -> None:
        self.close()
        log = self.base / f"up-{block.line}.log"
        with log.open("wb") as output:
            self.services = subprocess.Popen(
                ["bash", "-c", _exec_of(block.script)],
                cwd=self.checkout,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_S
        while not self._ready():
            told = f"line {block.line}: the services are not ready\n{log.read_text()}"
            assert self.services.poll() is None, told
            assert time.monotonic() < deadline, told
            time.sleep(PAUSE_S)

    def _ready(self) -> bool:
        try:
            with httpx.Client(trust_env=False, timeout=2) as http:
                answers = [
                    http.get(f"http://127.0.0.1:{self.ports[name]}{path}")
                    for name, path in (("HUB", "/readyz"), ("SIDECAR", "/healthz"))
                ]
        except httpx.HTTPError:
            return False
        return all(answer.status_code == 200 for answer in answers)


def _exec_of(script: str) -> str:
    """Variables in front of a command stay in front of it: ``A=1 open-persona up`` → ``A=1 exec open-persona up``."""
    variables, command = [], script.strip().split(" ")
    while command and re.fullmatch(r"[A-Z_]+=\S*", command[0]):
        variables.append(command.pop(0))
    return " ".join([*variables, "exec", *command])
