from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import Overloaded
from sidecar.runners import capacity as module
from sidecar.runners.capacity import Capacity, retry_after


class Told(list[str]):
    def __call__(self, line: str, *, done: bool = False) -> None:
        self.append(line)


@pytest.mark.requirement("runner:told-how-long")
@given(
    next_end_s=st.floats(0, 4000),
    ahead=st.integers(0, 500),
    each_s=st.floats(0.1, 200),
    spread=st.floats(0, 1),
)
def test_when_to_try_again_is_between_five_seconds_and_three_minutes(
    next_end_s: float, ahead: int, each_s: float, spread: float
) -> None:
    assert 5 <= retry_after(next_end_s=next_end_s, ahead=ahead, each_s=each_s, spread=spread) <= 180


@pytest.mark.requirement("runner:told-how-long")
def test_a_longer_line_and_a_later_end_are_a_longer_wait() -> None:
    def wait(next_end_s: float, ahead: int, spread: float = 0) -> int:
        return retry_after(next_end_s=next_end_s, ahead=ahead, each_s=2, spread=spread)

    assert wait(0, 0) == 5
    assert wait(10, 0) == 10
    assert wait(10, 15) == 40
    assert wait(10, 15, spread=1) == 44
    assert wait(10, 500) == 180 > wait(10, 500, spread=1)


@pytest.mark.requirement("runner:told-how-long")
def test_who_was_refused_keeps_their_place_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now

    monkeypatch.setattr(module, "time", Clock)
    it = Capacity(1, 1)

    def told(user: str) -> int:
        with pytest.raises(Overloaded, match=r"about \d+ seconds") as refused:
            it.admit(user)
        return refused.value.retry_after_s

    with it.holding("ann"):
        first, second, third = told("bob"), told("eve"), told("zoe")
        assert first < second < third
        now += 20
        assert told("bob") <= first
        assert told("eve") < second
        now += 200  # eve does not come again, and is waited for no longer
        assert abs(told("zoe") - told("bob")) > 10
    it.admit("zoe")
    it = Capacity(1, 1)
    for _ in range(3):
        with it.holding("ann"):
            now += 100
    with it.holding("ann"):
        assert 100 <= told("bob") <= 110


@pytest.mark.requirement("runner:places")
async def test_a_place_is_kept_for_who_was_let_in_and_free_again_when_it_is_not_taken_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    it = Capacity(2, 1)
    it.admit("ann")
    it.admit("bob")
    it.admit("ann")
    with pytest.raises(Overloaded, match=r"about \d+ seconds") as refused:
        it.admit("eve")
    assert f"about {refused.value.retry_after_s} seconds" in refused.value.message
    with it.holding("ann"):
        pass
    assert it.busy == {"ann", "bob"}  # ann was let in twice
    with it.holding("ann"):
        pass
    it.admit("eve")
    with pytest.raises(Overloaded):
        it.admit("zoe")
    with it.holding("bob"):
        pass
    monkeypatch.setattr(module, "ADMITTED_S", -1)
    it.admit("bob")  # lapses at once: its client has left before its turn began
    it.admit("zoe")
    assert it.busy == {"eve"}


@pytest.mark.requirement("runner:places")
async def test_starts_are_made_in_order_and_those_who_wait_hear_how_many_come_first() -> None:
    it = Capacity(10, 2)
    gates = [asyncio.Event() for _ in range(5)]
    told = [Told() for _ in range(5)]
    order: list[int] = []

    async def start(n: int) -> None:
        async with it.start_slot(str(n), told[n]):
            order.append(n)
            await gates[n].wait()

    tasks = [asyncio.create_task(start(n)) for n in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (order, it.starting) == ([0, 1], frozenset({"0", "1"}))
    assert [lines[-1:] for lines in told[2:]] == [[f"Starting your workspace … {n} before you"] for n in (2, 3, 4)]
    tasks[3].cancel()
    await asyncio.gather(tasks[3], return_exceptions=True)
    assert told[4][-1] == "Starting your workspace … 3 before you"
    gates[1].set()
    await asyncio.gather(tasks[1])
    await asyncio.sleep(0)
    assert order == [0, 1, 2]
    for gate in gates:
        gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (order, it.starting) == ([0, 1, 2, 4], frozenset())
