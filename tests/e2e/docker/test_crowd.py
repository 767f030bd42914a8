"""Many at once at the whole stack: one runner for each user, no more than there are places, and nobody is lost.

One stack of ten places serves all tests of this file, in their order: the last one takes it down.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import pytest_asyncio

from sidecar.identity import workspace_hash
from tests.e2e.docker.history import History, most_at_once, now, recorded
from tests.e2e.docker.runners import until
from tests.e2e.docker.stack import Stack, docker, running_stack
from tests.e2e.process.deployment import Answer
from tests.fakes.provider import Reply

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

PLACES = 10
CORES = os.cpu_count() or 1
BUSY_S = 120
"""What anything may take on a machine where other tests run too."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(engine: object) -> AsyncIterator[Stack]:
    env = {"OPEN_PERSONA_MAX_RUNNERS": str(PLACES), "OPEN_PERSONA_RUNNER_HEALTH_TIMEOUT_S": str(BUSY_S)}
    async with running_stack(subnets="10.216.0.0/16", env=env) as running:
        yield running


def user_of(stack: Stack, name: str) -> str:
    """The user's id: names of networks tell users, not deployments, and other stacks may have an Ann too."""
    return f"{name}-{stack.prefix}"


def hash_of(stack: Stack, name: str) -> str:
    return workspace_hash(user_of(stack, name))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def history(stack: Stack) -> AsyncIterator[History]:
    async with recorded(stack) as following:
        yield following


@dataclass
class Asked:
    """One request and what came of it so far; ``status`` is 0 until the answer has begun."""

    user: str
    status: int = 0
    retry_after: int = 0
    answer: Answer = field(default_factory=lambda: Answer(0))

    async def ask(self, stack: Stack, said: str = "Hi") -> Asked:
        request: dict[str, Any] = stack.turn(said, user=user_of(stack, self.user))
        async with stack.client.stream("POST", **request) as response:
            self.status, self.answer = response.status_code, Answer(response.status_code)
            if self.status == httpx.codes.OK:
                async for line in response.aiter_lines():
                    self.answer.add(line)
            else:
                self.retry_after = int(response.headers.get("retry-after", "0"))
                self.answer.body = json.loads(await response.aread() or b"{}")
        return self

    @property
    def answered(self) -> bool:
        return self.status == httpx.codes.OK and self.answer.text == "hello" and not self.answer.error


async def listed(stack: Stack) -> list[dict[str, Any]]:
    """What the sidecar says of its runners."""
    response = await stack.client.get(f"{stack.url}/v1/open-persona/runners", headers=stack.headers())
    return list(response.json()["runners"])


async def states(stack: Stack, *among: str) -> list[str]:
    return [one["name"] for one in await listed(stack) if one["state"] in among]


async def at_rest(stack: Stack) -> bool:
    """Nothing starts and no turn runs."""
    return not await states(stack, "waiting", "starting", "in turn")


async def owned(stack: Stack) -> bool:
    """The containers are those that the sidecar knows, and no network is left of others."""
    containers = {one["Name"].lstrip("/") for one in await stack.runners()}
    mine = f"label=open-persona.instance={stack.instance}"
    networks = (await docker("network", "ls", "-q", "--filter", mine)).split()
    return containers == {one["name"] for one in await listed(stack)} and len(networks) == len(containers)


@contextmanager
def watched(stack: Stack) -> Iterator[list[list[str]]]:
    """Samples, taken all the while inside: the states of the runners, as the sidecar tells them."""
    samples: list[list[str]] = []

    async def sample() -> None:
        while True:
            samples.append([one["state"] for one in await listed(stack)])
            await asyncio.sleep(0.1)

    task = asyncio.create_task(sample())
    try:
        yield samples
    finally:
        task.cancel()


@pytest.mark.requirement("runner:single-flight")
async def test_twenty_first_turns_of_one_user_make_one_container(stack: Stack, history: History) -> None:
    since = await now()
    asked = await asyncio.gather(*(Asked("ann").ask(stack) for _ in range(20)))
    assert [one.answered for one in asked] == [True] * 20, [one.answer for one in asked if not one.answered][:1]
    (life,) = await history.lives(since)
    assert life.gone == float("inf")
    assert [one["Id"] for one in await stack.runners()] == [life.container]


@pytest.mark.requirement("runner:crowd")
async def test_fifty_users_at_ten_places(stack: Stack, history: History) -> None:
    since, gate = await now(), asyncio.Event()
    stack.provider.script(Reply(text=["hel", "lo"], gate=gate))
    crowd = [Asked(f"user{number}") for number in range(50)]
    with watched(stack) as samples:
        asking = [asyncio.create_task(one.ask(stack)) for one in crowd]
        await until(lambda: all(one.status for one in crowd), BUSY_S)
        shown = await stack.exec("open-persona-sidecar", "open-persona", "runners", "ls", within=BUSY_S)
        gate.set()
        await asyncio.gather(*asking)
        admitted = [one for one in crowd if one.status == httpx.codes.OK]
        refused = [one for one in crowd if one.status == httpx.codes.TOO_MANY_REQUESTS]
        assert (len(admitted), len(refused)) == (PLACES, 40)
        assert all(one.answered for one in admitted), [one.answer for one in admitted if not one.answered][:1]
        for one in refused:
            assert 5 <= one.retry_after <= 180
            assert f"about {one.retry_after} seconds" in str(one.answer.error["message"])
        # They come again as they were told, as many as there is time for here; see test_pool.py for all of them.
        tries = await asyncio.gather(*(_as_told(stack, one) for one in _first_told(refused, 12)))
    print(f"tries of those who came again: {tries}; told {sorted(one.retry_after for one in refused)}")
    assert max(tries) <= 4
    assert shown.count("open-persona-runner-") >= PLACES
    lived = await history.lives(since)
    print(f"started: {len(lived)}, at once {most_at_once((one.made, one.ready) for one in lived)}")
    assert most_at_once((one.made, one.ready) for one in lived) <= CORES
    assert max(sample.count("starting") for sample in samples) <= CORES
    assert most_at_once((one.made, one.gone) for one in await history.lives()) <= PLACES
    assert max(map(len, samples)) <= PLACES


def _first_told(refused: Sequence[Asked], count: int) -> list[Asked]:
    """Those who were told to wait least."""
    return sorted(refused, key=lambda one: one.retry_after)[:count]


async def _as_told(stack: Stack, one: Asked) -> int:
    """Asks again after the time told, until it is answered; how often that took."""
    async with asyncio.timeout(BUSY_S * 2):
        for tries in range(1, 100):
            await asyncio.sleep(one.retry_after)
            one = await Asked(one.user).ask(stack)
            if one.status == httpx.codes.OK:
                assert one.answered, one.answer
                return tries
    raise AssertionError("never let in")


@pytest.mark.requirement("runner:crowd")
async def test_who_leaves_while_waiting_for_a_start_leaves_nothing_behind(stack: Stack, history: History) -> None:
    stack.provider.script("hello")
    leaving = [Asked(f"guest{number}") for number in range(PLACES)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.ask(stack)) for one in leaving]
        await until(lambda: all(any("Starting" in line for line in one.answer.statuses) for one in leaving), BUSY_S)
        for task in tasks:
            task.cancel()
    left = await now()
    await until(lambda: at_rest(stack), BUSY_S)
    await until(lambda: owned(stack), BUSY_S)

    async def none_is_started_for_nobody() -> bool:
        return all(one.gone < float("inf") for one in await history.lives(left))

    await until(none_is_started_for_nobody, BUSY_S)
    # They had all places, and none is kept for them.
    assert (await Asked("ann").ask(stack)).answered


@pytest.mark.requirement("runner:crowd")
async def test_a_storm_of_stops_and_new_tries_ends_with_one_runner(stack: Stack) -> None:
    stack.provider.script("hello")
    for number in range(5):
        tasks = [asyncio.create_task(Asked("ann").ask(stack)) for _ in range(4)]
        await asyncio.sleep(0.15 * number)  # each wave is cut at another step of the start
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert (await Asked("ann").ask(stack)).answered
    await until(lambda: at_rest(stack), BUSY_S)
    await until(lambda: owned(stack), BUSY_S)
    assert len([one for one in await listed(stack) if one["user"] == hash_of(stack, "ann")]) == 1
    assert len(await stack.runners()) <= PLACES


@pytest.mark.requirement("runner:start-fails")
async def test_a_start_that_fails_is_told_to_all_who_wait_and_hinders_nobody(stack: Stack) -> None:
    stack.provider.script("hello")
    planted = stack.home / "workspaces" / hash_of(stack, "eve")
    planted.write_text("no folder")
    try:
        begun = time.monotonic()
        failing = [asyncio.create_task(Asked("eve").ask(stack)) for _ in range(10)]
        assert (await Asked("ann").ask(stack)).answered
        for one in await asyncio.gather(*failing):
            assert "folders can't be made" in str(one.answer.error["message"]), one.answer
            assert one.answer.terminals == ["stop"]
        assert time.monotonic() - begun < BUSY_S
    finally:
        planted.unlink()
    assert (await Asked("eve").ask(stack)).answered
    await until(lambda: owned(stack), BUSY_S)


@pytest.mark.requirement("runner:operated")
async def test_operators_and_the_user_act_in_the_middle_of_a_turn(stack: Stack) -> None:
    gate = asyncio.Event()
    stack.provider.script([Reply(text=["hel", "lo"], gate=gate), "hello"])
    count = len(stack.provider.requests)
    one = Asked("ann")
    turn = asyncio.create_task(one.ask(stack))
    await stack.provider.wait_requests(count + 1, BUSY_S)
    reset = await Asked("ann").ask(stack, "/reset")
    assert "still running" in reset.answer.text
    (name,) = [each["name"] for each in await listed(stack) if each["user"] == hash_of(stack, "ann")]
    at = f"{stack.url}/v1/open-persona/runners/{name}"
    assert (await stack.client.post(f"{at}/restart", headers=stack.headers())).status_code == httpx.codes.CONFLICT
    assert (await stack.client.delete(at, headers=stack.headers())).status_code == httpx.codes.CONFLICT
    assert name in await states(stack, "in turn")
    forced = await stack.client.post(f"{at}/restart", params={"force": "true"}, headers=stack.headers())
    assert forced.json() == {"name": name, "restarted": True}
    await turn
    assert "stopped by the operator" in str(one.answer.error["message"])
    assert one.answer.terminals == ["stop"]
    gate.set()
    assert (await Asked("ann").ask(stack)).answered
    assert "fresh workspace" in (await Asked("ann").ask(stack, "/reset")).answer.text
    await until(lambda: owned(stack), BUSY_S)


HELD = """
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        command = open(f"/proc/{pid}/cmdline").read()
        if int(pid) not in (os.getpid(), 1) and "sidecar" in command:
            print(len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")))
    except OSError:
        pass
"""


async def held(stack: Stack) -> tuple[int, int]:
    """How many files are open in the sidecar, and its threads."""
    files, threads = (await stack.exec("open-persona-sidecar", "python3", "-c", HELD)).split()
    return int(files), int(threads)


@pytest.mark.requirement("runner:nothing-grows")
async def test_thirty_turns_leave_no_file_open_and_no_thread(stack: Stack) -> None:
    stack.provider.script("hello")
    assert (await Asked("ann").ask(stack)).answered
    for _ in range(3):
        assert (await Asked("ann").ask(stack)).answered
    await until(lambda: at_rest(stack), BUSY_S)
    before = await held(stack)
    for _ in range(30):
        assert (await Asked("ann").ask(stack)).answered
    await until(lambda: at_rest(stack), BUSY_S)
    after = await held(stack)
    print(f"files and threads before and after: {before}, {after}")
    assert after[0] <= before[0] + 3
    assert after[1] <= before[1] + 3


@pytest.mark.requirement("compose:down")
async def test_at_the_end_nothing_is_left_of_the_crowd(stack: Stack) -> None:
    instance = stack.instance
    assert await stack.runners()
    await stack.compose("down", "-v", "-t", "30", within=BUSY_S * 2)
    mine = f"label=open-persona.instance={instance}"
    assert await docker("ps", "-aq", "--filter", mine) == ""
    assert await docker("network", "ls", "-q", "--filter", mine) == ""
    for kind, name in ((("ps", "-a"), "{{.Names}}"), (("network", "ls"), "{{.Name}}"), (("volume", "ls"), "{{.Name}}")):
        assert stack.prefix not in await docker(*kind, "--format", name)
