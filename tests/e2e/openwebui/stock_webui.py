"""The stock Open WebUI as a process of its own, with our package in its environment, and a client for its API."""

from __future__ import annotations

import os
import secrets
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.openwebui.installed import installed

ROOT = Path(__file__).resolve().parents[3]
START_S = 240.0
STOP_S = 20.0
ADMIN = {"name": "Ada", "email": "ada@example.org", "password": "correct-horse-1"}


def eventually(found: Callable[[], Any], *, within: float, what: str) -> Any:
    """The first true answer of ``found``; fails after ``within`` seconds."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.25)
    raise AssertionError(f"not within {within:.0f} s: {what}")


@dataclass
class WebUI:
    """A running Open WebUI."""

    url: str
    data: Path
    log: Path
    environment: dict[str, str]
    program: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    api: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30, trust_env=False))
    clients: list[httpx.Client] = field(default_factory=list)

    def start(self) -> None:
        """Returns when it is healthy."""
        command = [*(self.program or (str(installed()),)), "serve", "--host", "127.0.0.1"]
        port = self.url.rpartition(":")[2]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", port],
                cwd=self.data,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(self._healthy, within=START_S, what=f"Open WebUI is healthy; see {self.log}")

    def _healthy(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"Open WebUI ended:\n{self.log.read_text()[-3000:]}")
        try:
            return self.api.get(f"{self.url}/health").status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(STOP_S)
        self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def sign_up(self) -> None:
        """The first account, an admin; the client is signed in as it from now on."""
        self._take(self.api.post(f"{self.url}/api/v1/auths/signup", json=ADMIN))

    def sign_in(self) -> None:
        """The same account, after a restart."""
        login = {key: ADMIN[key] for key in ("email", "password")}
        self._take(self.api.post(f"{self.url}/api/v1/auths/signin", json=login))

    def _take(self, answer: httpx.Response) -> None:
        answer.raise_for_status()
        self.api.cookies.clear()
        self.api.headers["authorization"] = f"Bearer {answer.json()['token']}"

    def add_user(self, name: str) -> httpx.Client:
        """A client that is signed in as a new ordinary user."""
        account = {"name": name, "email": f"{name}@example.org", "password": "correct-horse-2", "role": "user"}
        self.post("/api/v1/auths/add", account)
        client = httpx.Client(timeout=30, trust_env=False)
        self.clients.append(client)
        answer = client.post(f"{self.url}/api/v1/auths/signin", json=account)
        answer.raise_for_status()
        client.cookies.clear()
        client.headers["authorization"] = f"Bearer {answer.json()['token']}"
        return client

    def get(self, path: str, client: httpx.Client | None = None) -> Any:
        answer = (client or self.api).get(f"{self.url}{path}")
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: object, client: httpx.Client | None = None) -> Any:
        answer = (client or self.api).post(f"{self.url}{path}", json=body)
        answer.raise_for_status()
        return answer.json()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What its database holds."""
        connection = sqlite3.connect(f"file:{self.data / 'webui.db'}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()


@contextmanager
def stock_webui(
    folder: Path, port: int, more: Mapping[str, str], *, start: bool = True, program: tuple[str, ...] = ()
) -> Iterator[WebUI]:
    """Open WebUI on an empty database under ``folder``; ``more`` is added to its environment.

    ``program`` is another way to start it than the installed command.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "DATA_DIR": str(data),
        "WEBUI_SECRET_KEY": secrets.token_hex(16),
        "ENABLE_OLLAMA_API": "False",
        "OPENAI_API_BASE_URLS": "",
        "OFFLINE_MODE": "True",
        "HF_HUB_OFFLINE": "1",
        "RAG_EMBEDDING_ENGINE": "openai",
        "ENABLE_VERSION_UPDATE_CHECK": "False",
        "ENABLE_VALVE_ENCRYPTION": "True",
        "CORS_ALLOW_ORIGIN": f"http://127.0.0.1:{port}",
        **more,
    }
    webui = WebUI(f"http://127.0.0.1:{port}", data, folder / "webui.log", environment, program)
    try:
        if start:
            webui.start()
        yield webui
    finally:
        webui.stop()
        for client in (webui.api, *webui.clients):
            client.close()
