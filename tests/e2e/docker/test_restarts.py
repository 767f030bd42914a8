"""Everything of the running stack is killed, stopped, frozen or made anew: chats, files and secrets go on.

One stack serves all tests of this file. Each test begins with chats of its own, of users who have their runners already
or get them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from sidecar.errors import RunnerError
from sidecar.identity import workspace_hash
from tests.e2e.docker import test_pool as pool
from tests.e2e.docker.engine import Engine
from tests.e2e.docker.faulty_daemon import faulty_daemon
from tests.e2e.docker.runners import until
from tests.e2e.docker.stack import PROVIDER_KEY, WITHOUT_WEBUI, Stack, docker, running_stack
from tests.e2e.process.deployment import Answer, switched_on
from tests.fakes.provider import ProviderRequest, Reply, ToolCall

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

SUBNETS = "10.214.0.0/20"
SERVICES = ("sidecar", "hub", "mcp", "spawner")
GRANTS = switched_on("grants_gov")
ROOM_S = 120
"""For what takes seconds, on a machine where other tests run too."""
SLOW_S = 30


def answers(request: ProviderRequest) -> Reply:
    """A model that searches for grants where it can, and else says how many messages it was shown."""
    search = next((name for name in request.tool_names if name.endswith("search_opportunities")), "")
    if request.tool_results:
        return Reply(text=[f"found: {request.tool_results[-1][:200]}"])
    if search:
        return Reply(tools=[ToolCall(search, {"keyword": request.last_user})])
    return Reply(text=[f"message {len(request.user_texts)}"])


@dataclass
class Person:
    """One user of the stack, in one chat with Izzy. ``said`` is what the model has to know of it by now."""

    stack: Stack
    name: str
    chat: str
    said: list[str] = field(default_factory=list)

    @property
    def user(self) -> str:
        """Names of containers and networks tell users, not deployments."""
        return f"{self.name}-{self.stack.prefix}"

    async def says(self, words: str, **options: object) -> Answer:
        """One turn. The request repeats nothing: what the model is shown of before, it has from the session."""
        answer, parent = f"{self.chat}-{len(self.said) + 1}", f"{self.chat}-{len(self.said)}" if self.said else ""
        given = {"user": self.user, "chat": self.chat, "answer": answer, "parent": parent}
        return await self.stack.chat(words, **{**given, **options})

    async def tells(self, words: str) -> list[str]:
        """One turn that has to be answered, by a model that was shown all that was said; the status lines of it."""
        answer = await self.says(words)
        self.said.append(words)
        assert answer.text == f"message {len(self.said)}", (answer.error, answer.text, answer.statuses)
        assert self.asked(words).user_texts == self.said
        assert (answer.terminals, answer.done) == (["stop"], 1)
        return answer.statuses

    def asked(self, words: str) -> ProviderRequest:
        """The last request at the provider that ends with these words."""
        return [request for request in self.stack.provider.requests if request.last_user == words][-1]

    @property
    def workspace(self) -> str:
        return workspace_hash(self.user)

    async def container(self) -> str:
        """The id of the user's runner."""
        [found] = [
            each["Id"]
            for each in await self.stack.runners(running=True)
            if each["Config"]["Labels"]["open-persona.workspace"] == self.workspace
        ]
        return str(found)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(engine: object) -> AsyncIterator[Stack]:
    patience = {f"OPEN_PERSONA_RUNNER_{what}_TIMEOUT_S": str(ROOM_S) for what in ("START", "HEALTH")}
    async with running_stack(script=answers, subnets=SUBNETS, env=patience) as running:
        await running.probe("grants_gov")
        yield running


async def people(stack: Stack, *names: str) -> list[Person]:
    """They have each said one thing, so each has a runner."""
    chat = hashlib.sha256(f"{time.time_ns()}".encode()).hexdigest()[:8]
    found = [Person(stack, name, f"c-{name}-{chat}") for name in names]
    await asyncio.gather(*(person.tells(f"my hill is the {person.name}berg") for person in found))
    return found


async def ids(stack: Stack) -> list[str]:
    """Of its runners, whatever their state."""
    return sorted(each["Id"] for each in await stack.runners())


async def networks(stack: Stack) -> set[str]:
    mine = ("--filter", f"label=open-persona.instance={stack.instance}")
    return set((await docker("network", "ls", *mine, "--format", "{{.Name}}")).split())


async def created_since(stack: Stack, begin: str) -> str:
    """What Docker tells of runners that were made from then on; empty where none was."""
    mine = ("--filter", f"label=open-persona.instance={stack.instance}", "--filter", "event=create")
    return await docker("events", "--since", begin, "--until", str(int(time.time()) + 1), *mine, within=30)


async def up(stack: Stack) -> None:
    await stack.compose("up", "-d", "--wait", "--no-build", *WITHOUT_WEBUI)


async def nothing_unowned(stack: Stack, *owners: Person) -> None:
    """Of runners and networks there are the owners' alone, one of each; what is left of others goes soon."""
    expected = {f"open-persona-net-{person.workspace}" for person in owners}

    async def holds() -> bool:
        return len(await ids(stack)) == len(owners) and await networks(stack) == expected

    await until(holds, ROOM_S)
    assert sorted([await person.container() for person in owners]) == await ids(stack)


def held_secrets(stack: Stack) -> dict[str, str]:
    """What the files of secrets hold, by name."""
    return {path.name: path.read_text() for path in (stack.state / "secrets").iterdir()}


@pytest.mark.requirement("restart:sidecar-killed")
async def test_a_killed_sidecar_takes_its_three_runners_over_and_makes_none(stack: Stack) -> None:
    ann, ben, eve = await people(stack, "ann", "ben", "eve")
    before = await ids(stack)
    assert len(before) == 3
    begin = str(int(time.time()))
    await docker("kill", "-s", "KILL", stack.container("sidecar"))
    assert sorted(each["Id"] for each in await stack.runners(running=True)) == before
    await up(stack)
    for person in (ann, ben, eve):
        statuses = await person.tells("which hill?")
        assert not any("tarting" in line or "started" in line for line in statuses), statuses
    assert await ids(stack) == before
    assert "container create" not in await created_since(stack, begin)


@pytest.mark.requirement("restart:sidecar-told")
async def test_a_sidecar_told_to_stop_ends_its_answers_well_and_its_runners_are_taken_over(stack: Stack) -> None:
    ann, ben = await people(stack, "ann", "ben")
    before = await ids(stack)
    gates = {"finish": asyncio.Event(), "never finish": asyncio.Event()}

    def slowly(request: ProviderRequest) -> Reply:
        gate = gates.get(request.last_user)
        return Reply(text=["begun ", "ended"], gate=gate) if gate else answers(request)

    stack.provider.script(slowly)
    count = len(stack.provider.requests)
    drained, cut = (asyncio.create_task(who.says(words)) for who, words in zip((ann, ben), gates, strict=True))
    await stack.provider.wait_requests(count + 2, ROOM_S)
    stopping = asyncio.create_task(stack.compose("stop", "open-persona-sidecar"))

    async def heard() -> bool:
        return "Shutting down" in (await stack.logs("sidecar")).rsplit("Application startup complete", 1)[-1]

    await until(heard, ROOM_S)
    gates["finish"].set()
    answer = await drained
    assert (answer.text, answer.error, answer.terminals, answer.done) == ("begun ended", {}, ["stop"], 1)
    answer = await cut
    assert "is being restarted" in str(answer.error["message"])
    assert (len(answer.terminals), answer.done) == (1, 1)
    await stopping
    [state] = [each["State"] for each in await stack.inspect(stack.container("sidecar"))]
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)
    assert await ids(stack) == before
    gates["never finish"].set()
    stack.provider.script(answers)
    await up(stack)
    ann.said.append("finish")
    for person in (ann, ben):
        await person.tells("which hill?")
    assert await ids(stack) == before


@pytest.mark.requirement("restart:engine-away")
async def test_while_the_spawner_is_dead_live_runners_go_on_and_new_ones_are_told_why_not(stack: Stack) -> None:
    [ann] = await people(stack, "ann")
    before = await ids(stack)
    newcomer = Person(stack, "zoe", f"zoe-{time.time_ns()}")
    await docker("kill", "-s", "KILL", stack.container("spawner"))
    await ann.tells("which hill?")
    told = await newcomer.says("hello")
    assert "can't be reached" in str(told.error["message"]), told.text
    assert (len(told.terminals), told.done) == (1, 1)
    await up(stack)
    await newcomer.tells("hello")
    await ann.tells("and which hill?")
    assert set(before) <= set(await ids(stack))
    assert len(await ids(stack)) == len(before) + 1


@pytest.mark.requirement("restart:engine-slow")
async def test_while_the_spawner_hangs_for_30_s_live_runners_go_on_and_nothing_is_lost(stack: Stack) -> None:
    [ann] = await people(stack, "ann")
    before = await ids(stack)
    newcomer = Person(stack, "kim", f"kim-{time.time_ns()}")
    program = await pid_of(stack.container("spawner"), "python -m spawner")
    os.kill(program, signal.SIGSTOP)
    begun = time.monotonic()
    try:
        waiting = asyncio.create_task(newcomer.says("hello"))
        while time.monotonic() - begun < SLOW_S:
            await ann.tells("which hill?")
            await asyncio.sleep(1)
        # What was asked of the spawner has a deadline: by now the newcomer knows.
        told = await asyncio.wait_for(waiting, ROOM_S)
    finally:
        os.kill(program, signal.SIGCONT)
    assert "too slow" in str(told.error["message"]), told.text
    assert (len(told.terminals), told.done) == (1, 1)
    await newcomer.tells("hello")
    await ann.tells("and which hill?")
    assert set(before) <= set(await ids(stack))
    assert len(await ids(stack)) == len(before) + 1
    assert len(await networks(stack)) == len(before) + 1


async def pid_of(container: str, command: str) -> int:
    """Of the container's process of that command line, as the host numbers it."""
    listed = [line.split(maxsplit=1) for line in (await docker("top", container, "-o", "pid,args")).splitlines()[1:]]
    [found] = [pid for pid, line in listed if line.startswith(command)]
    return int(found)


@pytest.mark.requirement("restart:engine-fails")
async def test_while_docker_fails_every_call_live_runners_go_on_and_new_ones_are_told(
    tmp_path: Path, engine: Engine
) -> None:
    """A sidecar without a spawner: its Docker is one that answers 500 to everything."""
    async with (
        faulty_daemon(tmp_path / "docker.sock") as daemon,
        pool.containers(tmp_path, engine.runner, docker_host=daemon.host) as it,
    ):
        assert (await pool.chat(it, "my hill is the Brocken", chat="c", answer="a1")).text == "hello"
        before, newcomer = pool.ids(it), f"ben-{it.home.parent.name}-{time.time_ns()}"
        daemon.fails = "."
        answer = await pool.chat(it, "which hill?", chat="c", answer="a2", parent="a1")
        assert answer.text == "hello", answer.error
        assert it.provider.requests[-1].user_texts == ["my hill is the Brocken", "which hill?"]
        told = await it.chat("hi", user=newcomer)
        assert "refused to do its part" in str(told.error["message"]), told.text
        with pytest.raises(RunnerError, match="refused to do its part"):
            await it.services.turns.pool._caretaker.round()
        assert pool.ids(it) == before
        daemon.fails = ""
        assert (await it.chat("hi", user=newcomer)).text == "hello"
        await it.services.turns.pool._caretaker.round()
        answer = await pool.chat(it, "and now?", chat="c", answer="a3", parent="a2")
        assert it.provider.requests[-1].user_texts == ["my hill is the Brocken", "which hill?", "and now?"]
        assert set(before) < set(pool.ids(it))
        assert len(pool.ids(it)) == 2


@pytest.mark.requirement("restart:recreated")
@pytest.mark.parametrize("service", ["hub", "sidecar"])
async def test_after_a_service_was_made_anew_the_next_turn_reaches_both_doors(stack: Stack, service: str) -> None:
    [ann] = await people(stack, "ann")
    before, old = await ann.container(), (await stack.inspect(stack.container(service)))[0]["Id"]
    await finds_grants(ann)
    recreate = ("--force-recreate", "--no-deps", "--wait", "--no-build")
    await stack.compose("up", "-d", *recreate, f"open-persona-{service}")
    assert (await stack.inspect(stack.container(service)))[0]["Id"] != old
    await stack.probe("grants_gov")
    await finds_grants(ann)
    await ann.tells("which hill?")
    assert await ann.container() == before
    members = (await stack.inspect(f"open-persona-net-{ann.workspace}"))[0]["Containers"]
    names = {member["Name"] for member in members.values()}
    assert names >= {stack.container("sidecar"), stack.container("hub")}


async def finds_grants(person: Person) -> None:
    """A turn of theirs, outside of the chat, passes through both doors: to the model, and to Grants.gov."""
    asked = len(person.stack.grants.requests)
    new = f"health {asked}"  # what was asked before is remembered
    answer = await person.says(new, chat="", answer="", parent="", meta=GRANTS)
    assert answer.text.startswith("found: "), (answer.text, answer.error, answer.statuses)
    assert len(person.stack.grants.requests) > asked, answer.text


@pytest.mark.requirement("restart:down-up")
async def test_after_down_and_up_memory_files_and_secrets_are_there(stack: Stack) -> None:
    [ann] = await people(stack, "ann")
    secrets = held_secrets(stack)
    await docker("exec", await ann.container(), "sh", "-c", "echo the lake > /workspace/note.txt")
    await stack.compose("down", "-t", "30", within=180)
    assert await ids(stack) == []
    assert await networks(stack) == set()
    await up(stack)
    await goes_on(ann, secrets)
    await nothing_unowned(stack, ann)


@pytest.mark.requirement("restart:reboot")
async def test_after_a_power_cut_memory_files_and_secrets_are_there_and_nothing_unowned(stack: Stack) -> None:
    """All is killed at once, and Docker starts the services by their restart policies: in any order, and no runner.

    Here it is the worst one: each before what it depends on.
    """
    ann, ben = await people(stack, "ann", "ben")
    secrets = held_secrets(stack)
    await docker("exec", await ann.container(), "sh", "-c", "echo the lake > /workspace/note.txt")
    old = await ids(stack)
    services = [stack.container(name) for name in SERVICES]
    await docker("kill", *services, *[each["Id"] for each in await stack.runners(running=True)])
    for name in services:
        await docker("start", name)
    await up(stack)
    await goes_on(ann, secrets)
    await nothing_unowned(stack, ann)
    assert not set(await ids(stack)) & set(old)
    await ben.tells("which hill?")
    await nothing_unowned(stack, ann, ben)


async def goes_on(person: Person, secrets: dict[str, str]) -> None:
    """Their chat goes on in a new runner, with the file that the old one wrote and the key of before."""
    await person.tells("which hill?")
    assert person.asked("which hill?").key == PROVIDER_KEY
    assert (await docker("exec", await person.container(), "cat", "/workspace/note.txt")).strip() == "the lake"
    assert held_secrets(person.stack) == secrets
