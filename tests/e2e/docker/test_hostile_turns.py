"""An agent gone bad in a turn, by its own shell: bombs end and are told, and a token works for its owner alone."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sidecar.identity import workspace_hash
from sidecar.runners.live import LiveRunner
from tests.e2e.docker.engine import Engine, docker
from tests.e2e.docker.inside import Inside
from tests.e2e.docker.runners import until
from tests.e2e.docker.test_pool import containers
from tests.e2e.process.deployment import Deployment
from tests.fakes.provider import ProviderRequest, Reply, ToolCall

pytestmark = pytest.mark.real
SHELL = """\
---
id: shell
name: Shell
description: Runs commands.
capabilities: [files, shell]
---
You run commands.
"""
TAG = secrets.token_hex(4)
ANN, BOB = f"ann-{TAG}", f"bob-{TAG}"
"""Users whose networks have names that no other deployment on this Docker shares."""
PERSONAS = Path(__file__).resolve().parents[3] / "sidecar" / "personas"
MODEL = "open-persona/shell"
BOMB_MS = 15_000
"""What a command may take: opencode waits that long for a shell that a signal killed."""
QUOTA_MB = 64
QUOTA_S = 2.0
SLOW_S = 6.0
"""What a busy machine may add to it."""


@asynccontextmanager
async def shells(tmp: Path, engine: Engine, **settings: object) -> AsyncIterator[Deployment]:
    """A deployment with a persona that has a shell."""
    folder = tmp / "personas"
    shutil.copytree(PERSONAS, folder)
    (folder / "shell.md").write_text(SHELL)
    async with containers(tmp, engine.runner, personas_dir=folder, **settings) as it:
        yield it


def runs(command: str, then: str, within_ms: int = BOMB_MS) -> list[Reply | str]:
    """A model that runs one command, and says ``then`` when it has ended."""
    arguments = {"command": command, "description": "a command", "timeout": within_ms}
    return [Reply(tools=[ToolCall("bash", arguments)]), then]


def for_the_bad(bad: list[Reply | str]) -> object:
    """Each request of a turn whose user says "do it" gets the next of ``bad``; all others get "hello"."""
    left = list(bad)

    def answer(request: ProviderRequest) -> Reply:
        if "do it" not in " ".join(request.user_texts):
            return Reply(text=["hello"])
        reply = left.pop(0) if len(left) > 1 else left[0]
        return reply if isinstance(reply, Reply) else Reply(text=[reply])

    return answer


def inside(live: LiveRunner) -> Inside:
    return Inside(live.spec.name, urlsplit(live.client.url).hostname or "")


@pytest.mark.requirement("doors:token-at-home")
async def test_a_stolen_token_opens_nothing_while_its_owners_turn_runs(tmp_path: Path, engine: Engine) -> None:
    async with containers(tmp_path, engine.runner) as it:
        gate = asyncio.Event()
        slow, quick = Reply(text=["slow ", "end"], gate=gate), Reply(text=["hello"])
        it.provider.script(lambda request: slow if request.last_user == "wait" else quick)
        turn = asyncio.create_task(it.chat("wait", user=BOB))
        await it.provider.wait_requests(1, 120)
        assert (await it.chat("hi", user=ANN)).text == "hello"
        by_user = {live.spec.workspace_hash: live for live in it.services.turns.pool.live}
        ann, bob = by_user[workspace_hash(ANN)], by_user[workspace_hash(BOB)]
        port = it.services.settings.sidecar_port
        stolen = ("open-persona-sidecar", port, bob.spec.token.get_secret_value(), "m1")
        asked = len(it.provider.requests)
        assert await inside(ann).told("model_call", *stolen) == {"call": "403"}
        assert len(it.provider.requests) == asked
        assert await inside(bob).told("model_call", *stolen) == {"call": "200"}
        gate.set()
        assert (await turn).text == "slow end"
        await it.idle()  # the answer's end is sent before the turn is put away
        assert await inside(bob).told("model_call", *stolen) == {"call": "403"}


@pytest.mark.requirement("hostile:bombs-in-a-turn")
async def test_a_fork_bomb_of_a_turn_ends_with_it_and_others_are_answered(tmp_path: Path, engine: Engine) -> None:
    async with shells(tmp_path, engine) as it:
        first = await it.chat("hi", user=BOB)
        assert first.text == "hello", first.error or first.body
        bomb = "bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 5; echo over"
        it.provider.script(for_the_bad(runs(bomb, "that was it")))  # type: ignore[arg-type]
        turn = asyncio.create_task(it.chat("do it", user=ANN, model=MODEL))
        await it.provider.wait_requests(2, 90)
        assert (await it.chat("hi again", user=BOB)).text == "hello"
        answer = await turn
        assert answer.done == 1
        assert answer.text == "that was it" or answer.error, answer.events[-3:]
        next_one = await it.chat("and now", user=ANN, model=MODEL)
        assert next_one.text == "hello", next_one.events[-3:]
        [ann] = [live for live in it.services.turns.pool.live if live.spec.workspace_hash == workspace_hash(ANN)]
        assert len(docker("top", ann.spec.name).splitlines()) < 12


@pytest.mark.requirement("hostile:bombs-in-a-turn")
async def test_a_memory_bomb_of_a_turn_is_told_and_others_are_answered(tmp_path: Path, engine: Engine) -> None:
    async with shells(tmp_path, engine) as it:
        first = await it.chat("hi", user=BOB)
        assert first.text == "hello", first.error or first.body
        it.provider.script(for_the_bad(runs("tail /dev/zero", "that was it")))  # type: ignore[arg-type]
        turn = asyncio.create_task(it.chat("do it", user=ANN, model=MODEL))
        await it.provider.wait_requests(2, 90)
        assert (await it.chat("hi again", user=BOB)).text == "hello"
        answer = await turn
        told = " ".join([*answer.statuses, str(answer.error.get("message", ""))]).lower()
        assert (answer.done, "memory" in told) == (1, True), answer.events[-5:]
        assert (await it.chat("and now", user=ANN, model=MODEL)).text == "hello"


@pytest.mark.requirement("hostile:disk-filler")
async def test_a_disk_filler_is_stopped_two_seconds_past_its_quota(tmp_path: Path, engine: Engine) -> None:
    async with shells(tmp_path, engine, workspace_quota_mb=QUOTA_MB) as it:
        first = await it.chat("hi", user=BOB)
        assert first.text == "hello", first.error or first.body
        command = f"echo mine > kept.txt; while head -c {8 << 20} /dev/zero >> big; do sleep 0.2; done"
        it.provider.script(for_the_bad(runs(command, "that was it", 120_000)))  # type: ignore[arg-type]
        turn = asyncio.create_task(it.chat("do it", user=ANN, model=MODEL))
        await until(lambda: any(True for _ in it.home.glob("workspaces/*/big")), 120)
        [big] = it.home.glob("workspaces/*/big")
        # What lies beside it counts too, so that it need not pass the quota by itself.
        await until(lambda: big.stat().st_size > (QUOTA_MB - 2) << 20, 60)
        passed = time.monotonic()
        answer = await turn
        assert time.monotonic() - passed < QUOTA_S + SLOW_S
        assert answer.done == 1
        assert "quota" in str(answer.error).lower() or "MB" in str(answer.error), answer.events[-3:]
        size = big.stat().st_size
        assert (big.parent / "kept.txt").read_text() == "mine\n"
        assert (await it.chat("hi again", user=BOB)).text == "hello"
        assert big.stat().st_size == size
