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
    start_s=st.floats(0.1, 200),
    queued=st.integers(0, 500),
    slots=st.integers(1, 64),
    next_end_s=st.floats(0, 4000),
    spread=st.floats(0, 1),
)
def test_when_to_try_again_is_between_five_seconds_and_a_minute(
    start_s: float, queued: int, slots: int, next_end_s: float, spread: float
) -> None:
    seconds = retry_after(start_s=start_s, queued=queued, slots=slots, next_end_s=next_end_s, spread=spread)
    assert 5 <= seconds <= 60


@pytest.mark.requirement("runner:told-how-long")
def test_a_longer_queue_and_a_later_end_are_a_longer_wait() -> None:
    def wait(queued: int, next_end_s: float, slots: int = 2) -> int:
        return retry_after(start_s=4, queued=queued, slots=slots, next_end_s=next_end_s, spread=0)

    assert wait(0, 0) == 5
    assert wait(10, 0) == 20
    assert wait(10, 15) == 35
    assert wait(10, 0, slots=4) == 10


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
    with it.holding("ann"), it.holding("ann"):
        pass
    it.admit("eve")
    with pytest.raises(Overloaded):
        it.admit("zoe")
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
        async with it.start_slot(told[n]):
            order.append(n)
            await gates[n].wait()

    tasks = [asyncio.create_task(start(n)) for n in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (order, it.starting) == ([0, 1], 2)
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
    assert (order, it.starting) == ([0, 1, 2, 4], 0)
