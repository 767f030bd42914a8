"""What the pool does when things come at once, in the wrong order, or not at all."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.errors import Busy, Overloaded, RunnerError
from sidecar.runners import adoption
from sidecar.runners.specification import specify
from tests.sidecar.runners.engine_double import SIG, Rig, found, rig, until

ANN, BOB, EVE = "a" * 16, "b" * 16, "e" * 16


def hashes(count: int) -> list[str]:
    return [f"{n:016x}" for n in range(count)]


async def name_of(it: Rig, user: str) -> str:
    return specify(it.settings, user, SIG, "").name


@pytest.mark.requirement("runner:places")
async def test_fifty_users_at_once_with_ten_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    async with rig(tmp_path, max_runners=10) as it:
        gate = asyncio.Event()
        turns = [asyncio.create_task(it.turn(user, gate)) for user in hashes(50)]
        await until(lambda: len(it.started) == 10)
        refused = [turn for turn in turns if turn.done()]
        assert len(refused) == 40
        assert all(isinstance(turn.exception(), Overloaded) for turn in refused)
        assert all(5 <= turn.exception().retry_after_s <= 180 for turn in refused)  # type: ignore[union-attr]
        gate.set()
        outcomes = await asyncio.gather(*turns, return_exceptions=True)
        assert sum(isinstance(outcome, str) for outcome in outcomes) == 10
        assert it.engine.most_starting == 2
        assert len(it.engine.there) == 10
        assert any(line.endswith(" before you") for line in it.told)
        # The rest comes again: idle runners of others make room.
        for user in hashes(50)[40:]:
            await it.turn(user)
        assert it.engine.most_there == 10


@pytest.mark.requirement("runner:single-flight")
async def test_twenty_first_turns_of_one_user_start_one_runner(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        names = await asyncio.gather(*(it.turn(ANN) for _ in range(20)))
        assert len(set(names)) == 1
        assert it.engine.calls["start"] == 1


@pytest.mark.requirement("runner:places")
async def test_a_turn_that_is_given_up_while_it_waits_leaves_no_place_taken(tmp_path: Path) -> None:
    async with rig(tmp_path, max_runners=1) as it:
        it.engine.gates["start"] = asyncio.Event()
        turn = asyncio.create_task(it.turn(ANN))
        await until(lambda: it.engine.calls["start"] == 1)
        assert it.pool.starting == {ANN: await name_of(it, ANN)}
        with pytest.raises(Overloaded):
            await it.pool.admit(BOB)
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
        it.engine.gates["start"].set()
        assert it.pool.starting == {}
        await it.turn(BOB)


@pytest.mark.requirement("runner:adopted")
async def test_what_an_earlier_sidecar_left_is_taken_over_and_its_turns_are_ended(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        names = [await it.turn(user) for user in (ANN, BOB, EVE)]
        it.opencode.busy = {"ses_1", "ses_2"}
        it.engine.there[names[1]] = replace(it.engine.there[names[1]], state="paused")
        starts = it.engine.calls["start"]
        await it.successor()
        assert set(it.engine.there) == set(names)
        await until(lambda: len(it.pool.live) == 3)
        assert it.opencode.busy == set()
        it.opencode.asked.clear()
        assert [await it.turn(user) for user in (ANN, BOB, EVE)] == names
        assert it.engine.calls["start"] == starts
        # What an adopted one has loaded nobody knows: it loads the config anew, once.
        assert it.opencode.asked.count("POST /instance/dispose") == 3
        await it.turn(ANN)
        assert it.opencode.asked.count("POST /instance/dispose") == 3


@pytest.mark.requirement("runner:adopted")
async def test_what_can_not_be_taken_over_is_removed(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        names = [await it.turn(user) for user in (ANN, BOB, EVE)]
        it.engine.there[names[0]] = replace(it.engine.there[names[0]], current=False)
        it.engine.there[names[1]] = replace(it.engine.there[names[1]], state="ended")
        (tmp_path / "runners" / EVE / SIG / "config" / "open-persona.json").unlink()
        await it.successor()
        await until(lambda: it.engine.there == {})
        assert it.pool.live == ()
        await it.turn(ANN)


@pytest.mark.requirement("runner:adopted")
async def test_a_turn_waits_for_its_own_adoption_alone(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        name = await it.turn(ANN)
        it.engine.gates["adopt"] = asyncio.Event()
        await it.successor()
        mine = asyncio.create_task(it.turn(ANN))
        await it.turn(BOB)
        assert not mine.done()
        it.engine.gates["adopt"].set()
        assert await mine == name
        assert it.engine.calls["start"] == 2


@pytest.mark.requirement("runner:adopted")
async def test_an_engine_that_is_down_at_start_delays_nothing_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adoption, "LISTED_S", 0.05)
    monkeypatch.setattr(adoption, "RETRY_S", 0.05)
    async with rig(tmp_path) as it:
        name = await it.turn(ANN)
        it.engine.down = True
        await it.successor()
        with pytest.raises(RunnerError, match="engine is down"):
            await it.turn(ANN)
        it.engine.down = False
        await until(lambda: len(it.pool.live) == 1)
        assert await it.turn(ANN) == name
        assert it.engine.calls["start"] == 1


@pytest.mark.requirement("runner:left-running")
@pytest.mark.parametrize("lasting", [True, False])
async def test_at_the_end_lasting_runners_stay_and_others_are_stopped(tmp_path: Path, lasting: bool) -> None:
    async with rig(tmp_path, lasting=lasting) as it:
        name = await it.turn(ANN)
        await it.pool.close()
        assert set(it.engine.there) == ({name} if lasting else set())
        assert it.engine.calls["close"] == 1


@pytest.mark.requirement("turn:shell-alone")
async def test_a_turn_with_a_shell_runs_alone_and_what_it_leaves_is_ended(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        gates = [asyncio.Event() for _ in range(3)]
        first = asyncio.create_task(it.turn(ANN, gates[0]))
        await until(lambda: len(it.started) == 1)
        shell = asyncio.create_task(it.turn(ANN, gates[1], alone=True))
        await until(lambda: any("works in your workspace alone" in line for line in it.told))
        last = asyncio.create_task(it.turn(ANN, gates[2]))
        await until(lambda: any("yours comes next" in line for line in it.told))
        assert len(it.started) == 1
        gates[0].set()
        await first
        await until(lambda: len(it.started) == 2)
        gates[2].set()
        await asyncio.sleep(0.05)
        assert not last.done()
        it.engine.strays = True
        gates[1].set()
        await shell
        await last
        assert any("left running" in line for line in it.told)
        assert (it.engine.calls["start"], it.engine.calls["has_strays"]) == (2, 1)


@pytest.mark.requirement("runner:reset")
async def test_a_reset_ends_the_runner_but_never_one_in_a_turn(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        assert await it.pool.reset(ANN) is False
        gate = asyncio.Event()
        turn = asyncio.create_task(it.turn(ANN, gate))
        await until(lambda: len(it.started) == 1)
        with pytest.raises(Busy):
            await it.pool.reset(ANN)
        name = await name_of(it, ANN)
        for verb in (it.pool.stop, it.pool.restart):
            with pytest.raises(Busy, match="A turn runs"):
                await verb(name)
        gate.set()
        await turn
        assert await it.pool.reset(ANN) is True
        assert it.engine.there == {}


@pytest.mark.requirement("runner:operated")
async def test_an_operator_can_end_what_a_turn_runs_in_by_force_and_its_user_is_told(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        turn = asyncio.create_task(it.turn(ANN, gate := asyncio.Event()))
        await until(lambda: len(it.started) == 1)
        (live,) = it.pool.live
        assert await it.pool.restart(live.spec.name, force=True)
        assert live.gone.is_set()
        assert "stopped by the operator" in live.loss().message
        gate.set()
        await turn
        (fresh,) = it.pool.live
        assert fresh is not live
        assert await it.pool.stop(fresh.spec.name)
        assert it.engine.there == {}
        assert not await it.pool.stop(fresh.spec.name)
        assert not await it.pool.restart(fresh.spec.name)


@pytest.mark.requirement("runner:operated")
@pytest.mark.parametrize("force", [False, True])
async def test_a_turn_that_begins_while_an_operator_ends_the_runner_is_asked_for_or_told(
    tmp_path: Path, force: bool
) -> None:
    async with rig(tmp_path) as it:
        await it.turn(ANN)
        (live,) = it.pool.live
        it.engine.gates["mend"] = asyncio.Event()
        turn = asyncio.create_task(it.turn(ANN, gate := asyncio.Event()))
        await until(lambda: it.engine.calls["mend"] == 1)
        end = asyncio.create_task(it.pool.stop(live.spec.name, force=force))
        await asyncio.sleep(0)
        it.engine.gates["mend"].set()
        outcome = (await asyncio.gather(end, return_exceptions=True))[0]
        assert (type(outcome), live.gone.is_set()) == ((bool, True) if force else (Busy, False))
        assert not force or "stopped by the operator" in live.loss().message
        gate.set()
        await turn


@pytest.mark.requirement("runner:one-at-a-time")
async def test_none_is_started_beside_one_that_could_not_be_stopped(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.turn(ANN)
        it.engine.down = True
        with pytest.raises(RunnerError):
            await it.turn(ANN, sig="89abcdef")
        with pytest.raises(RunnerError):
            await it.turn(ANN, sig="89abcdef")
        assert len(it.engine.there) == 1
        it.engine.down = False
        name = await it.turn(ANN, sig="89abcdef")
        assert set(it.engine.there) == {name}


@pytest.mark.requirement("files:links-swept")
@pytest.mark.parametrize("lasting", [False, True])
async def test_links_are_swept_where_no_container_keeps_them_from_leading_out(tmp_path: Path, lasting: bool) -> None:
    async with rig(tmp_path, lasting=lasting) as it:
        await it.turn(ANN)
        link = tmp_path / "workspaces" / ANN / "python"
        link.symlink_to("/usr/bin/python3")
        await it.turn(ANN)
        assert link.is_symlink() == lasting


@pytest.mark.requirement("runner:ended-for")
async def test_a_runner_that_is_ended_for_a_reason_tells_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.turn(ANN)
        (live,) = it.pool.live
        await live.end_for("Too many files.", "quota")
        assert (live.loss().message, live.loss().reason) == ("Too many files.", "quota")
        assert it.engine.there == {}
        await it.turn(ANN)
        assert it.engine.calls["start"] == 2


@pytest.mark.requirement("runner:reconciled")
async def test_a_round_removes_strays_forgets_what_is_gone_and_touches_nothing_that_starts(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        names = [await it.turn(user) for user in (ANN, BOB)]
        stray = found(specify(it.settings, EVE, SIG, ""))
        it.engine.there[stray.name] = stray
        del it.engine.there[names[0]]
        it.engine.gates["start"] = asyncio.Event()
        starts = asyncio.create_task(it.turn("c" * 16))
        await until(lambda: it.engine.calls["start"] == 3)
        half_made = found(specify(it.settings, "c" * 16, SIG, ""))
        it.engine.there[half_made.name] = half_made
        await it.pool._caretaker.round()
        assert set(it.engine.there) == {names[1], half_made.name}
        assert [live.spec.name for live in it.pool.live] == [names[1]]
        it.engine.gates["start"].set()
        await starts
        assert it.engine.calls["tidy"] >= 1


@pytest.mark.requirement("runner:recycled")
async def test_an_outdated_runner_is_started_again_between_turns(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        turn = asyncio.create_task(it.turn(ANN, gate := asyncio.Event()))
        await until(lambda: len(it.started) == 1)
        name = await name_of(it, ANN)
        it.engine.there[name] = replace(it.engine.there[name], current=False)
        await it.pool._caretaker.round()
        assert it.engine.calls["stop"] == 0
        gate.set()
        await turn
        await it.turn(ANN)
        assert any("has been updated" in line for line in it.told)
        assert Counter(it.engine.calls)["start"] == 2


@pytest.mark.requirement("runner:wedged")
async def test_a_turn_goes_on_while_the_engine_is_down_and_a_wedged_runner_is_replaced(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        name = await it.turn(ANN)
        it.engine.down = True
        assert await it.turn(ANN) == name
        it.engine.down = False
        it.opencode.silent = True
        await it.turn(ANN)
        assert any("stopped answering" in line for line in it.told)
        assert it.engine.calls["start"] == 2


@pytest.mark.requirement("runner:pause-between-turns")
async def test_an_idle_runner_is_paused_then_stopped_and_never_in_a_turn(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.turn(ANN)
        (live,) = it.pool.live
        live.used_at -= it.settings.runner_pause_s + 1
        await it.pool._caretaker.round()
        assert (live.state, it.engine.calls["pause"]) == ("paused", 1)
        turn = asyncio.create_task(it.turn(ANN, gate := asyncio.Event()))
        await until(lambda: len(it.started) == 2)
        assert it.engine.calls["resume"] == 1
        live.used_at -= it.settings.runner_idle_s * 2
        await it.pool._caretaker.round()
        assert live.state == "in turn"
        gate.set()
        await turn
        live.used_at -= it.settings.runner_idle_s + 1
        await it.pool._caretaker.round()
        assert it.pool.live == ()
        assert it.engine.there == {}
