"""How a container's end is told from what Docker says of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.runners.docker_engine import Engine
from sidecar.runners.docker_events import ContainerEvents, Watched


def killed(*, oom: bool) -> Watched:
    watched = Watched("id")
    if oom:
        watched.ran_out_of_memory()
    watched.died(137)
    return watched


@pytest.mark.requirement("runner:oom-told")
async def test_out_of_memory_is_an_ending_only_when_it_was_the_end() -> None:
    assert killed(oom=True).ending == "oom"
    assert killed(oom=False).ending == "exited"
    lives = Watched("id")
    lives.ran_out_of_memory()
    assert (lives.ending, lives.exit_status, lives.oom_count) == (None, None, 1)
    lives.died(0)
    assert lives.ending == "exited"


async def test_a_kill_long_after_memory_ran_out_has_nothing_to_do_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    watched = Watched("id")
    watched.ran_out_of_memory()
    now += 60
    watched.died(137)
    assert watched.ending == "exited"


async def test_a_removal_by_force_is_told_as_one_and_the_status_stays() -> None:
    watched = killed(oom=False)
    watched.removed()
    assert (watched.ending, watched.exit_status) == ("removed", 137)
    starved = killed(oom=True)
    starved.removed()
    assert starved.ending == "oom"
    assert starved.ended.is_set()


async def test_the_hook_is_called_each_time() -> None:
    told: list[int] = []
    watched = Watched("id", on_oom=lambda: told.append(1))
    watched.ran_out_of_memory()
    watched.ran_out_of_memory()
    assert len(told) == watched.oom_count == 2


class Stream:
    """Stands for a Docker that tells of two ends in the other order than that of their times."""

    def __init__(self, told: list[dict[str, Any]]) -> None:
        self._told = told

    def events(self, **_: object) -> Stream:
        return self

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._told)

    def close(self) -> None: ...


def told(action: str, container: str, at: int) -> dict[str, Any]:
    return {"Action": action, "timeNano": at, "Actor": {"ID": container, "Attributes": {"exitCode": "1"}}}


@pytest.mark.requirement("runner:events-lost")
async def test_ends_that_are_told_out_of_order_are_all_seen() -> None:
    events = ContainerEvents(Engine("unix:///nowhere"), "instance")
    first, second = events.watch("first"), events.watch("second")
    stream = Stream([told("oom", "first", 19), told("die", "first", 20), told("die", "second", 10)])
    events._read(stream, asyncio.get_running_loop())
    events._read(Stream([told("oom", "first", 19)]), asyncio.get_running_loop())
    async with asyncio.timeout(5):
        await first.ended.wait()
        await second.ended.wait()
    assert (first.exit_status, second.exit_status, first.oom_count) == (1, 1, 1)
