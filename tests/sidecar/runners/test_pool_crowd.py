"""The pool among many: who is refused, who gives up, whose start fails, and what operators do meanwhile."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from sidecar.errors import Overloaded
from sidecar.runners import capacity
from sidecar.runners import live as live_module
from sidecar.runners.specification import specify
from tests.sidecar.runners.engine_double import SIG, Rig, rig, until

ANN, BOB, EVE, ZOE = "a" * 16, "b" * 16, "e" * 16, "f" * 16
SPEED = 50
"""How much faster time goes in a test of those who come again."""


def hashes(count: int) -> list[str]:
    return [f"{n:016x}" for n in range(count)]


def name_of(it: Rig, user: str) -> str:
    return specify(it.settings, user, SIG, "").name


class FastTime:
    """Stands for the module ``time``."""

    @staticmethod
    def monotonic() -> float:
        return time.monotonic() * SPEED


async def as_told(it: Rig, user: str, *, turn_s: float) -> int:
    """Asks until a turn is through, each time when it was told to; how often that took."""
    tries = 0
    while True:
        tries += 1
        try:
            await it.pool.admit(user)
        except Overloaded as refused:
            await asyncio.sleep(refused.retry_after_s / SPEED)
            continue
        await it.admitted(user, lambda: asyncio.sleep(turn_s / SPEED))
        return tries


@pytest.mark.requirement("runner:crowd")
async def test_all_of_fifty_users_come_through_when_they_come_again_as_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(capacity, "time", FastTime)
    async with rig(tmp_path, max_runners=10) as it:
        it.engine.start_s = 5 / SPEED
        tries = await asyncio.gather(*(as_told(it, user, turn_s=20) for user in hashes(50)))
        assert len(it.started) == 50
        # Most have a place when they come for the second time.
        assert sum(tries) < 50 + 40 * 2.5
        assert max(tries) < 15
        assert it.engine.most_starting == 2
        assert it.engine.most_there == 10


@pytest.mark.requirement("runner:wedged")
async def test_a_runner_that_is_only_busy_with_turns_is_not_taken_for_a_wedged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "WEDGED_S", 0.1)
    async with rig(tmp_path) as it:
        gate = asyncio.Event()
        first = asyncio.create_task(it.turn(ANN, gate))
        await until(lambda: len(it.started) == 1)
        it.opencode.deaf = asyncio.Event()
        second = asyncio.create_task(it.turn(ANN, gate))
        for _ in range(3):
            count = len(it.opencode.asked)
            await until(lambda count=count: len(it.opencode.asked) > count)
            it.opencode.tell("session.updated")
        it.opencode.deaf.set()
        await until(lambda: len(it.started) == 2)
        (live,) = it.pool.live
        assert not live.gone.is_set()
        # With no sign of life it is wedged after all, whatever runs in it.
        it.opencode.deaf = asyncio.Event()
        third = asyncio.create_task(it.turn(ANN, gate))
        await until(live.gone.is_set)
        it.opencode.deaf.set()
        gate.set()
        await asyncio.gather(first, second, third)
        assert it.engine.calls["start"] == 2
