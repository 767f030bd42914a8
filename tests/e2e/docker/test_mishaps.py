"""What goes wrong in a deployment while people use it: who is told what, how soon, and that the next turn works.

One stack serves all tests of this file, and mostly one user, in another chat each: a runner that is there is of use.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.docker.engine import Engine
from tests.e2e.docker.people import LATE_S, PATIENT, Person, held_answers
from tests.e2e.docker.runners import until
from tests.e2e.docker.stack import PLACE, ROOT, Stack, docker, running_stack
from tests.e2e.process.deployment import switched_on
from tests.fakes.provider import ProviderRequest, Reply, ToolCall
from tests.mcp_servers.test_launcher import write_integration

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

TOLD_S = 5
"""How soon a user is told of a runner's end, from Docker's own event on."""
DRAFT = {"model": "open-persona/grant-draft", "picked": "drafter"}
OPENCODE = 'for one in /proc/[0-9]*; do grep -qs "^PPid:.1$" $one/status && echo ${one#/proc/}; done'
"""Its process: the one child of the container's init."""


@dataclass(frozen=True)
class Scene:
    """``image`` is a name that this stack alone has for the runner's image, ``folders`` its integrations' root."""

    stack: Stack
    image: str
    runner_image: str
    folders: Path


@pytest.fixture(scope="module")
def folders() -> Iterator[Path]:
    """The integrations that come along, in a place where one can be added."""
    place = Path(tempfile.mkdtemp(prefix="open-persona-mishaps-", dir=PLACE))
    place.chmod(0o755)
    shutil.copytree(ROOT / "mcp_servers", place / "mcp_servers")
    yield place / "mcp_servers"
    shutil.rmtree(place)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(engine: Engine, folders: Path) -> AsyncIterator[Scene]:
    image = f"open-persona-test-mishaps:{secrets.token_hex(4)}"
    await docker("tag", engine.runner, image)
    env = {
        **PATIENT,
        "OPEN_PERSONA_MCP_SERVERS_DIR": str(folders),
        "OPEN_PERSONA_RUNNER_IMAGE": image,
        "OPEN_PERSONA_RUNNER_MEMORY_MB": "640",
        "OPEN_PERSONA_MAX_RUNNERS": "3",
    }
    try:
        async with running_stack(env=env, subnets="10.215.0.0/18") as stack:
            yield Scene(stack, image, engine.runner, folders)
    finally:
        await docker("rmi", "-f", image)


async def happened(container: str, what: str, since: float) -> float:
    """When, by Docker's own events, something of a container first was; waits for it. Raises ``TimeoutError``."""
    async with asyncio.timeout(LATE_S):
        while not (times := await all_times(container, what, since)):
            await asyncio.sleep(0.05)
    return times[0]


async def all_times(container: str, what: str, since: float) -> list[float]:
    span = ("--since", f"{since:.6f}", "--until", f"{time.time():.6f}")
    filters = ("--filter", f"container={container}", "--filter", f"event={what}")
    told = await docker("events", *span, *filters, "--format", "{{.TimeNano}}")
    return [int(line) / 1e9 for line in told.split()]


def reads(path: str, words: str) -> object:
    """A model that reads a file when it is told ``words``."""

    def script(asked: ProviderRequest) -> Reply:
        if words not in asked.last_user or asked.tool_results:
            return Reply(text=["hello"])
        return Reply(tools=[ToolCall("read", {"filePath": path})])

    return script


async def read_back(scene: Scene, who: Person, path: str, **options: object) -> str:
    """What the user's next turn finds in a file of the workspace."""
    scene.stack.provider.script(reads(path, "what did I keep?"))  # type: ignore[arg-type]
    answer = await who.say("what did I keep?", **options)
    scene.stack.provider.script("hello")
    assert (answer.text, answer.error) == ("hello", {}), answer
    return scene.stack.provider.requests[-1].tool_results[-1]


@pytest.mark.requirement("mishap:removed")
async def test_a_runner_removed_between_turns_starts_again_with_files_and_memory(scene: Scene) -> None:
    ann = Person.of(scene.stack, "ann", "between")
    assert (await ann.say("my hill is the Brocken", answer="a1")).text == "hello"
    old = await ann.container()
    await ann.inside("echo kept on the hill > notes.txt")
    await docker("rm", "-f", old)
    answer = await ann.say("which hill?", answer="a2", parent="a1")
    assert (answer.text, answer.error) == ("hello", {}), answer
    assert any("had ended and is started again" in line for line in answer.statuses), answer.statuses
    assert scene.stack.provider.requests[-1].user_texts == ["my hill is the Brocken", "which hill?"]
    assert await ann.container() != old
    assert "kept on the hill" in await read_back(scene, ann, "notes.txt", answer="a3", parent="a2")


@pytest.mark.requirement("runner:removed")
@pytest.mark.requirement("mishap:removed")
async def test_a_runner_removed_in_a_turn_is_told_at_once_and_the_next_turn_has_the_files(scene: Scene) -> None:
    ann = Person.of(scene.stack, "ann", "during")
    await ann.say("my hill is the Brocken", answer="a1")
    await ann.inside("echo kept on the hill > notes.txt")
    with held_answers(scene.stack, "wait") as gate:
        turn = await ann.held(gate, answer="a2", parent="a1")
        container, since = await ann.container(), time.time()
        await docker("rm", "-f", container)
        told = await turn.end()
    gone_at, told_at = await happened(container, "destroy", since), told.first("was removed in the middle")
    assert told.error["code"] == "runner_lost"
    assert (told.text, told.terminals, told.done) == ("slow ", ["stop"], 1)
    assert told_at is not None
    assert told_at - gone_at < TOLD_S
    assert "kept on the hill" in await read_back(scene, ann, "notes.txt", answer="a3", parent="a2")
    assert scene.stack.provider.requests[-1].user_texts[0] == "my hill is the Brocken"


@pytest.mark.requirement("mishap:out-of-memory")
async def test_an_opencode_that_memory_runs_out_of_is_told_and_nobody_else_notices(scene: Scene) -> None:
    ann, bob = (Person.of(scene.stack, name, "oom") for name in ("ann", "bob"))
    for one in (ann, bob):
        await one.say("hi", answer="a1")
    with held_answers(scene.stack, "wait") as gate:
        bad = await ann.held(gate, answer="a2", parent="a1")
        good = await bob.held(gate, answer="a2", parent="a1")
        container, others, since = await ann.container(), await bob.container(), time.time()
        await ann.inside(f"echo 1000 > /proc/$({OPENCODE})/oom_score_adj")
        await docker("exec", "-d", container, "tail", "/dev/zero")
        told = await bad.end()
        oom_at, told_at = await happened(container, "oom", since), told.first("needed more memory")
        assert told.error["code"] == "out_of_memory", told
        assert told.terminals == ["stop"]
        assert told_at is not None
        assert told_at - oom_at < TOLD_S
        assert (await bob.say("are you well?", chat="another", answer="b1")).text == "hello"
        gate.set()
        assert (await good.end()).text == "slow end"
    assert await bob.container() == others
    again = await ann.say("again", answer="a3", parent="a2")
    assert (again.text, again.error) == ("hello", {}), again


@pytest.mark.requirement("mishap:out-of-memory")
async def test_a_program_that_memory_runs_out_of_is_told_while_the_turn_goes_on(scene: Scene) -> None:
    ann = Person.of(scene.stack, "ann", "program")
    await ann.say("hi", answer="a1")
    with held_answers(scene.stack, "wait") as gate:
        turn = await ann.held(gate, answer="a2", parent="a1")
        container, since = await ann.container(), time.time()
        script = "echo 1000 > /proc/self/oom_score_adj; exec tail /dev/zero"
        await docker("exec", "-d", container, "bash", "-c", script)
        await turn.until(lambda told: told.first("ran out of memory") is not None)
        oom_at, told_at = await happened(container, "oom", since), turn.told.first("ran out of memory")
        assert told_at is not None
        assert told_at - oom_at < TOLD_S
        gate.set()
        told = await turn.end()
    assert (told.text, told.error) == ("slow end", {})
    assert await ann.container() == container


@pytest.mark.requirement("runner:wedged")
@pytest.mark.requirement("mishap:wedged")
async def test_a_wedged_runner_is_found_in_time_and_told_to_the_turn_that_hangs_in_it(scene: Scene) -> None:
    ann = Person.of(scene.stack, "ann", "wedged")
    await ann.say("my hill is the Brocken", answer="a1")
    with held_answers(scene.stack, "wait") as gate:
        hanging = await ann.held(gate, chat="another", answer="b1")
        old = await ann.container()
        await ann.inside(f"kill -STOP $({OPENCODE})")
        since = time.time()
        answer = await ann.say("which hill?", answer="a2", parent="a1")
        hung = await hanging.end()
    told_at = answer.first("stopped answering and is started again")
    assert (answer.text, answer.error) == ("hello", {}), answer
    assert told_at is not None
    assert told_at - since < 45, "20 s of silence, and what Docker needs to stop a container that hears nothing"
    assert hung.error["code"] == "runner_lost"
    assert scene.stack.provider.requests[-1].user_texts == ["my hill is the Brocken", "which hill?"]
    assert await ann.container() != old


@pytest.mark.requirement("mishap:image-missing")
async def test_a_missing_image_refuses_starts_alone_and_is_used_once_it_is_there(scene: Scene) -> None:
    ann, new = (Person.of(scene.stack, name, "image") for name in ("ann", "new"))
    await ann.say("hi", answer="a1")
    before = await ann.container()
    await docker("rmi", scene.image)
    try:
        refused = await new.say("hi", answer="a1")
        assert refused.error["code"] == "runner_missing"
        assert f"docker build -t {scene.image} -f deploy/runner/Dockerfile ." in str(refused.error["message"])
        assert refused.terminals == ["stop"]
        assert (await ann.say("still there?", answer="a2", parent="a1")).text == "hello"
        assert await ann.container() == before
    finally:
        await docker("tag", scene.runner_image, scene.image)
    assert (await new.say("and now?", answer="a2", parent="a1")).text == "hello"


@pytest.mark.requirement("mishap:two-tabs")
async def test_of_two_tabs_in_one_chat_the_second_waits_and_each_keeps_its_own_history(scene: Scene) -> None:
    ann, provider = Person.of(scene.stack, "ann", "tabs"), scene.stack.provider
    await ann.say("start", answer="a0")
    count = len(provider.requests)
    with held_answers(scene.stack, "wait") as gate:
        one = await ann.held(gate, answer="a1", parent="a0")
        two = ann.begin("the other tab", answer="b1", parent="a0")
        await two.until(lambda told: any("yours comes next" in line for line in told.statuses))
        three = ann.begin("after that", answer="a2", parent="a1")
        await three.until(lambda told: any("yours comes next" in line for line in told.statuses))
        assert len(provider.requests) == count + 1
        gate.set()
        assert [(await turn.end()).text for turn in (one, two, three)] == ["slow end", "hello", "hello"]
    asked = [request.user_texts for request in provider.requests[count:]]
    assert asked == [["start", "wait"], ["start", "the other tab"], ["start", "wait", "after that"]]


@pytest.mark.requirement("mishap:config-in-turn")
async def test_a_config_that_changes_in_a_turn_breaks_nothing_and_holds_for_the_next(scene: Scene) -> None:
    ann, provider = Person.of(scene.stack, "ann", "config"), scene.stack.provider
    await scene.stack.probe("grants_gov")
    await ann.say("warm up", meta=switched_on(grants_gov=["search_opportunities"]), **DRAFT)
    container = await ann.container()
    with held_answers(scene.stack, "wait") as gate:
        turn = await ann.held(gate, meta=switched_on(grants_gov=["search_opportunities"]), **DRAFT)
        assert provider.requests[-1].tool_names == ["grants_gov_search_opportunities"]
        await ann.say("switched off", meta=switched_on(), **DRAFT)
        assert provider.requests[-1].tool_names == []
        await ann.say("another persona", meta=switched_on(), model="open-persona/build", picked="newcomer")
        await asyncio.to_thread(write_integration, scene.folders, "gamma")
        await until(lambda: offered(ann, "gamma", "gamma_hello"), LATE_S)
        assert not turn.task.done()
        gate.set()
        assert (await turn.end()).text == "slow end"
    after = await ann.say("after it", meta=switched_on("gamma", grants_gov=["search_opportunities"]), **DRAFT)
    assert (after.text, after.error) == ("hello", {}), after
    assert provider.requests[-1].tool_names == ["gamma_hello", "grants_gov_search_opportunities"]
    assert await ann.container() == container


async def offered(who: Person, integration: str, tool: str) -> bool:
    """Whether a turn of a persona that has this on brings its tool to the model; unknown, it is refused."""
    answer = await who.say("a new integration", meta=switched_on(integration), **DRAFT)
    return not answer.error and who.stack.provider.requests[-1].tool_names == [tool]


@pytest.mark.requirement("mishap:idle-in-turn")
async def test_no_timer_touches_a_runner_in_a_long_silent_tool_call(scene: Scene) -> None:
    """The last test: the sidecar is made anew, with timers that are much shorter than the call."""
    ann, stack = Person.of(scene.stack, "ann", "silent"), scene.stack
    with stack.env_file.open("a") as file:
        file.write("OPEN_PERSONA_RUNNER_PAUSE_S=1\nOPEN_PERSONA_RUNNER_IDLE_S=3\n")
    await stack.compose("up", "-d", "--wait", "--no-build", "open-persona-sidecar")
    stack.provider.script([Reply(tools=[ToolCall("grants_gov_search_opportunities", {"keyword": "deer"})]), "found"])
    stack.grants.answering.clear()
    asked, since = len(stack.grants.requests), time.time()
    turn = ann.begin("look for it", meta=switched_on("grants_gov"), **DRAFT)
    try:
        await turn.until(lambda told: any(line.endswith("…") and "Grants" in line for line in told.statuses))
        container, begun = await ann.container(), time.monotonic()
        await until(lambda: time.monotonic() - begun > 8, 60)
        (found,) = await stack.inspect(container)
        assert (found["State"]["Status"], turn.task.done()) == ("running", False)
        released = time.time()
    finally:
        stack.grants.answering.set()
    assert (await turn.end()).text == "found"
    assert len(stack.grants.requests) > asked
    assert stack.provider.requests[-1].tool_results
    paused, ended = await happened(container, "pause", since), await happened(container, "die", since)
    assert released < paused < ended
