"""The pool among many: who is refused, who gives up, whose start fails, and what operators do meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

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
