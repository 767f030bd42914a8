"""The pool among many: who is refused, who gives up, whose start fails, and what operators do meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path

import pytest

from sidecar.errors import Busy, Overloaded, RunnerError, SidecarError
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
        # Nearly all have a place when they come for the second time; on a busy machine turns outlast what was told.
        assert sum(tries) < 50 + 40 * 10
        assert max(tries) < 40
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


@pytest.mark.requirement("runner:start-fails")
async def test_a_start_that_fails_is_told_at_once_to_all_who_waited_for_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.engine.gates["start"] = asyncio.Event()
        turns = [asyncio.create_task(it.turn(ANN)) for _ in range(20)]
        await until(lambda: it.engine.calls["start"] == 1 and len(it.pool._capacity._begun) == 1)
        it.engine.down = True
        it.engine.gates["start"].set()
        outcomes = await asyncio.gather(*turns, return_exceptions=True)
        assert all(isinstance(one, RunnerError) and "engine is down" in one.message for one in outcomes)
        assert it.engine.calls["start"] == 1
        it.engine.down = False
        await it.turn(ANN)
        assert it.engine.calls["start"] == 2


@pytest.mark.requirement("runner:places")
async def test_a_turn_that_is_given_up_while_it_makes_room_leaves_no_container_to_nobody(tmp_path: Path) -> None:
    async with rig(tmp_path, max_runners=1) as it:
        await it.turn(ANN)
        it.engine.gates["stop"] = asyncio.Event()
        turn = asyncio.create_task(it.turn(BOB))
        await until(lambda: it.engine.calls["stop"] == 1)
        turn.cancel()
        third = asyncio.create_task(it.turn(EVE))
        await asyncio.sleep(0)
        it.engine.gates["stop"].set()
        with pytest.raises(asyncio.CancelledError):
            await turn
        with suppress(Overloaded):
            await third
        assert name_of(it, ANN) not in it.engine.there
        assert it.engine.most_there == 1
        await it.turn(BOB)


@pytest.mark.requirement("runner:operated")
async def test_a_restart_takes_no_place_from_those_who_were_let_in(tmp_path: Path) -> None:
    async with rig(tmp_path, max_runners=2) as it:
        for user in (ANN, BOB):
            await it.turn(user)
        turn = asyncio.create_task(it.turn(BOB, gate := asyncio.Event()))
        await until(lambda: len(it.started) == 3)
        await it.pool.admit(EVE)
        with pytest.raises(Overloaded):
            await it.pool.restart(name_of(it, ANN))
        assert name_of(it, ANN) in it.engine.there
        assert await it.admitted(EVE) == name_of(it, EVE)
        gate.set()
        await turn
        assert await it.pool.restart(name_of(it, BOB))
        assert it.engine.most_there == 2


@pytest.mark.requirement("runner:operated")
async def test_what_is_being_started_for_a_turn_is_stopped_by_force_alone(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.engine.gates["start"] = asyncio.Event()
        turn = asyncio.create_task(it.turn(ANN))
        await until(lambda: it.engine.calls["start"] == 1)
        with pytest.raises(Busy, match="is being started"):
            await it.pool.stop(name_of(it, ANN))
        assert it.pool.starting_now == {ANN}
        it.engine.gates["start"].set()
        await turn
        assert await it.pool.stop(name_of(it, ANN))


@pytest.mark.requirement("runner:places")
async def test_what_an_earlier_sidecar_left_counts_before_it_is_taken_over(tmp_path: Path) -> None:
    async with rig(tmp_path, max_runners=2) as it:
        for user in (ANN, BOB):
            await it.turn(user)
        it.engine.gates["adopt"] = asyncio.Event()
        await it.successor()
        turn = asyncio.create_task(it.turn(EVE))
        await until(lambda: EVE in it.pool.starting)
        assert it.engine.calls["start"] == 2
        it.engine.gates["adopt"].set()
        await turn
        assert it.engine.most_there == 2
        assert len(it.pool.live) == 2


async def a_crowd(it: Rig, dice: random.Random, faults: list[BaseException]) -> None:
    """One of many who come, wait, leave, and are looked after, in any order."""
    user = dice.choice(hashes(6))
    await asyncio.sleep(dice.random() * 0.6)
    match dice.choice(["turn"] * 6 + ["leave"] * 8 + ["reset", "stop", "force", "restart", "round"]):
        case "turn":
            with suppress(Overloaded):
                await it.pool.admit(user)
                await _told(it.admitted(user, lambda: asyncio.sleep(dice.random() * 0.02)), faults)
        case "leave":
            with suppress(Overloaded):
                await it.pool.admit(user)
                turn = asyncio.create_task(it.admitted(user, lambda: asyncio.sleep(0.02), alone=dice.random() < 0.2))
                await asyncio.sleep(dice.random() * 0.06)
                turn.cancel()
                await asyncio.gather(turn, return_exceptions=True)
        case "reset":
            with suppress(Busy):
                await it.pool.reset(user)
        case "round":
            await it.pool._caretaker.round()
        case action:
            with suppress(SidecarError):
                verb = it.pool.restart if action == "restart" else it.pool.stop
                await verb(name_of(it, user), force=action == "force")


async def _told(turn: Coroutine[object, object, object], faults: list[BaseException]) -> None:
    """A turn that was let in has a runner in the end, or is told that an operator ended the start of one."""
    try:
        await turn
    except Overloaded as error:
        faults.append(error)


@pytest.mark.requirement("runner:crowd")
@pytest.mark.parametrize("seed", range(6))
async def test_whatever_a_crowd_does_no_limit_is_passed_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    dice, faults = random.Random(seed), list[BaseException]()
    async with rig(tmp_path, max_runners=3) as it:
        it.engine.start_s, it.engine.stop_s = 0.005, 0.02
        tasks_before = len(asyncio.all_tasks())
        async with asyncio.timeout(60):
            await asyncio.gather(*(a_crowd(it, dice, faults) for _ in range(120)))
        assert faults == []
        assert it.engine.most_there <= 3
        assert it.engine.most_starting <= 2
        assert it.pool.starting == {}
        assert it.pool.starting_now == frozenset()
        assert it.pool._capacity.busy == frozenset()
        assert set(it.engine.there) == {live.spec.name for live in it.pool.live if not live.gone.is_set()}
        # Everyone is served afterwards, in turn over and over, more of them than there are places.
        for user in hashes(6) * 2:
            await it.turn(user)
        for live in it.pool.live:
            await it.pool.stop(live.spec.name)
        assert it.engine.there == {}
        await until(lambda: len(asyncio.all_tasks()) <= tasks_before)
