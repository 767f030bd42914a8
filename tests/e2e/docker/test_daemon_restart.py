"""The Docker daemon is stopped and started under living runners: with live-restore they go on, without they come anew.

The daemon is this file's own, and the sidecars run in its network, as programs on the host of their users' containers.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from sidecar.identity import workspace_hash
from tests.e2e.docker.engine import Engine
from tests.e2e.docker.own_daemon import OwnDaemon, entered, own_daemon
from tests.e2e.docker.runners import until
from tests.e2e.docker.test_pool import awake, label, say
from tests.e2e.process.deployment import Answer, free_port
from tests.e2e.process.test_runners import start_sidecar
from tests.fakes.provider import FakeProvider, Reply, running_provider

pytestmark = pytest.mark.real
ROOM_S = 120
"""For what takes seconds, on a machine where other tests run too."""


@pytest.fixture(scope="module")
def daemon(engine: Engine) -> Iterator[OwnDaemon]:
    """It has the runner's image, and is not running. Tests in its network are tests of this thread alone."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:  # the engine may be another machine's
        pytest.skip("a Docker daemon of one's own wants root and dockerd")
    with own_daemon() as daemon:
        daemon.start(live_restore=False)
        daemon.load(engine.runner)
        daemon.stop()
        with entered(daemon.network):
            yield daemon


@dataclass
class Host:
    """A machine with a daemon and a sidecar, which may both be stopped and started."""

    home: Path
    image: str
    daemon: OwnDaemon
    provider: FakeProvider
    client: httpx.AsyncClient
    token_key: SecretStr
    port: int
    sidecar: subprocess.Popen[bytes] | None = None

    async def start_sidecar(self) -> None:
        more = {
            "OPEN_PERSONA_RUNNER_MODE": "docker",
            "OPEN_PERSONA_DOCKER_HOST": self.daemon.host,
            "OPEN_PERSONA_RUNNER_IMAGE": self.image,
            "OPEN_PERSONA_SIDECAR_HOST": "0.0.0.0",
            "OPEN_PERSONA_RUNNER_HEALTH_TIMEOUT_S": str(ROOM_S),
            "OPEN_PERSONA_TOKEN_KEY": self.token_key.get_secret_value(),
        }
        self.sidecar = start_sidecar(self.home, self.provider.url, self.port, **more)
        await awake(self.client, self.port)

    async def end_sidecar(self, how: signal.Signals) -> None:
        sidecar, self.sidecar = self.sidecar, None
        if sidecar is not None:
            sidecar.send_signal(how)
            await asyncio.to_thread(sidecar.wait, 30)

    async def start_daemon(self, *, live_restore: bool) -> None:
        await asyncio.to_thread(lambda: self.daemon.start(live_restore=live_restore))

    async def stop_daemon(self) -> None:
        await asyncio.to_thread(self.daemon.stop)

    async def says(self, words: str, answer: str, parent: str = "", user: str = "ann") -> Answer:
        return await say(self.client, self.port, user, words, answer, parent)

    def runners(self, *options: str) -> list[str]:
        """The ids of its containers, whatever their state."""
        mine = ("--filter", f"label={label(self.token_key)}")
        return sorted(self.daemon.docker("ps", "-aq", "--no-trunc", *mine, *options).split())

    def networks(self) -> list[str]:
        return self.daemon.docker("network", "ls", "-q", "--filter", f"label={label(self.token_key)}").split()


@asynccontextmanager
async def running_host(tmp: Path, image: str, daemon: OwnDaemon, *, live_restore: bool) -> AsyncIterator[Host]:
    async with running_provider("hello") as provider, httpx.AsyncClient(timeout=300, trust_env=False) as client:
        token_key = SecretStr(secrets.token_hex(16))
        host = Host(tmp, image, daemon, provider, client, token_key, free_port())
        await host.start_daemon(live_restore=live_restore)
        try:
            await host.start_sidecar()
            yield host
        finally:
            await host.end_sidecar(signal.SIGKILL)
            daemon.clear()
            await host.stop_daemon()


@pytest.mark.requirement("restart:daemon-live-restore")
async def test_with_live_restore_a_restarted_daemon_costs_no_runner_and_no_turn(
    tmp_path: Path, engine: Engine, daemon: OwnDaemon
) -> None:
    async with running_host(tmp_path, engine.runner, daemon, live_restore=True) as host:
        first = await host.says("my hill is the Brocken", "a1")
        assert first.text == "hello", first.error
        before = host.runners()
        gate = asyncio.Event()
        host.provider.script([Reply(text=["slow ", "end"], gate=gate), "hello"])
        turn = asyncio.create_task(host.says("wait", "a2", "a1"))
        await host.provider.wait_requests(2, ROOM_S)
        await host.stop_daemon()
        gate.set()
        answer = await turn
        assert (answer.text, answer.error) == ("slow end", {})
        await goes_on(host, ["my hill is the Brocken", "wait", "while it is away"], "a2")
        newcomer = await host.says("hi", "b1", user="ben")
        assert "can't be reached" in str(newcomer.error["message"])
        await host.start_daemon(live_restore=True)
        await goes_on(host, ["my hill is the Brocken", "wait", "once it is back"], "a2")
        assert host.runners("--filter", "status=running") == host.runners() == before

        # Daemon and sidecar at once, as an update of the machine does it: the sidecar is up first.
        await host.end_sidecar(signal.SIGKILL)
        await host.stop_daemon()
        await host.start_sidecar()
        early = asyncio.create_task(host.says("as early as can be", "a9", "a2"))
        await host.start_daemon(live_restore=True)
        assert (await early).done == 1
        await goes_on(host, ["my hill is the Brocken", "wait", "after both"], "a2")
        assert host.runners() == before
        assert len(host.networks()) == 1


async def goes_on(host: Host, said: list[str], parent: str) -> None:
    """The next turn continues the session in the same runner."""
    answer = await host.says(said[-1], f"{parent}-{len(host.provider.requests)}", parent)
    assert answer.text == "hello", answer.error
    assert not any("tart" in line for line in answer.statuses), answer.statuses
    assert host.provider.requests[-1].user_texts == said


@pytest.mark.requirement("restart:daemon")
async def test_without_live_restore_the_turn_is_told_and_the_next_starts_afresh_with_memory_and_files(
    tmp_path: Path, engine: Engine, daemon: OwnDaemon
) -> None:
    async with running_host(tmp_path, engine.runner, daemon, live_restore=False) as host:
        first = await host.says("my hill is the Brocken", "a1")
        assert first.text == "hello", first.error
        assert (await host.says("hi", "b1", user="ben")).text == "hello"
        before = host.runners()
        [runner] = host.runners("--filter", f"label=open-persona.workspace={workspace_hash('ann')}")
        daemon.docker("exec", runner, "sh", "-c", "echo the lake > /workspace/note.txt")
        gate = asyncio.Event()
        host.provider.script([Reply(text=["never ", "said"], gate=gate), "hello"])
        turn = asyncio.create_task(host.says("wait", "a2", "a1"))
        await host.provider.wait_requests(3, ROOM_S)
        await host.stop_daemon()
        answer = await asyncio.wait_for(turn, ROOM_S)
        assert answer.error["code"] == "runner_lost", answer.text
        assert (len(answer.terminals), answer.done) == (1, 1)
        gate.set()
        await host.start_daemon(live_restore=False)
        again = await host.says("which hill?", "a3", "a1")
        assert again.text == "hello", again.error
        assert host.provider.requests[-1].user_texts == ["my hill is the Brocken", "which hill?"]
        [new] = host.runners("--filter", "status=running")
        assert new not in before
        assert daemon.docker("exec", new, "cat", "/workspace/note.txt") == "the lake"

        # Ben's is gone with no turn to tell: the timer finds it.
        await host.end_sidecar(signal.SIGKILL)
        await host.start_sidecar()
        await until(lambda: host.runners() == [new] and len(host.networks()) == 1, ROOM_S)
        await goes_on(host, ["my hill is the Brocken", "which hill?", "and now?"], "a3")
