"""Users and their key sets: what is apart, what is shared, and what is left of a key that was changed.

One stack serves all tests of this file.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr

from sidecar.identity import key_sig, runner_name
from tests.e2e.docker.people import PATIENT, Person
from tests.e2e.docker.stack import WITHOUT_WEBUI, Stack, docker, run, running_stack
from tests.fakes.provider import ProviderRequest, Reply, ToolCall

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

KEY = "x-openpersona-compatible-api-key"
XDG = ("config", "state", "cache", "data")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(engine: object) -> AsyncIterator[Stack]:
    async with running_stack(env=PATIENT, subnets="10.215.64.0/18") as running:
        yield running


def name_of(who: Person, key: str) -> str:
    """As DESIGN says: the workspace's hash, and that of the key set under the token key."""
    token_key = SecretStr((who.stack.state / "secrets" / "OPEN_PERSONA_TOKEN_KEY").read_text())
    return runner_name(who.workspace, key_sig(token_key, {"compatible": SecretStr(key)}))


def keeps_notes(asked: ProviderRequest) -> Reply:
    """A model that writes and reads one file of the workspace."""
    if "keep" in asked.last_user and len(asked.tool_results) == 0:
        return Reply(tools=[ToolCall("write", {"filePath": "notes.txt", "content": "kept on the hill"})])
    if "find" in asked.last_user and len(asked.tool_results) == 1:
        return Reply(tools=[ToolCall("read", {"filePath": "notes.txt"})])
    return Reply(text=["hello"])


async def mounts(container: str, stack: Stack) -> dict[str, Path]:
    """Where each folder that a runner sees lies, below the stack's home."""
    (found,) = await stack.inspect(container)
    return {each["Destination"]: Path(each["Source"]).relative_to(stack.home) for each in found["Mounts"]}


@pytest.mark.requirement("keys:four-names")
async def test_two_users_with_two_key_sets_have_four_runners_and_two_workspaces(stack: Stack) -> None:
    keys = ("sk-first-of-the-keys", "sk-second-of-the-keys")
    people = [Person.of(stack, name, "notes") for name in ("ann", "bob")]
    stack.provider.script(keeps_notes)
    names: list[str] = []
    olds: list[str] = []
    for key, (said, answer, parent) in zip(keys, (("keep it", "a1", ""), ("find it", "a2", "a1")), strict=True):
        await asyncio.gather(*(one.say(said, answer=f"{answer}-{one.id}", parent=parent and f"{parent}-{one.id}",
                                       **{KEY: key}) for one in people))  # fmt: skip
        for one in people:
            container, private = await one.container(), Path("runners") / one.workspace
            assert await one.containers() == [container], "the one with the old key is gone"
            (found,) = await stack.inspect(container)
            name = str(found["Name"]).removeprefix("/")
            assert name == name_of(one, key)
            sig = name.rpartition("-")[2]
            assert await mounts(container, stack) == {
                "/workspace": Path("workspaces") / one.workspace,
                **{f"/opencode/{kind}": private / sig / kind for kind in XDG},
            }
            assert [folder.name for folder in (stack.home / private).iterdir()] == [sig]
            assert "marker" not in await one.inside("ls /opencode/cache /opencode/state")
            await one.inside("touch /opencode/cache/marker /opencode/state/marker")
            names.append(name)
            olds += [container] if key == keys[0] else []
    assert len(set(names)) == 4
    assert not set(olds) & set((await docker("ps", "-aq", "--no-trunc")).split())
    last = [request for request in stack.provider.requests if len(request.tool_results) == 2]
    assert [request.user_texts for request in last] == [["keep it", "find it"]] * 2, "the memory went along"
    assert all("kept on the hill" in request.tool_results[-1] for request in last), "the files stayed"
    assert {request.key for request in last} == {keys[1]}
    stack.provider.script("hello")


@pytest.mark.requirement("keys:one-container-left")
@pytest.mark.requirement("keys:old-key-nowhere")
async def test_of_a_key_changed_five_times_one_container_is_left_and_no_key_anywhere(stack: Stack) -> None:
    ann = Person.of(stack, "eve", "words")
    keys, parent = [f"sk-canary-number-{number}-of-eve" for number in range(6)], ""
    for number, key in enumerate(keys):
        answer = await ann.say(f"word {number}", answer=f"e{number}", parent=parent, **{KEY: key})
        assert (answer.text, answer.error) == ("hello", {}), answer
        assert stack.provider.requests[-1].key == key
        parent = f"e{number}"
    assert stack.provider.requests[-1].user_texts == [f"word {number}" for number in range(6)]
    container = await ann.container()
    assert await ann.containers() == [container]
    (found,) = await stack.inspect(container)
    assert str(found["Name"]).removeprefix("/") == name_of(ann, keys[-1])
    private = stack.home / "runners" / ann.workspace
    assert [folder.name for folder in private.iterdir()] == [name_of(ann, keys[-1]).rpartition("-")[2]]
    told = await all_that_docker_tells(stack)
    assert [word for word in (stack.prefix, ann.workspace, "opencode serve", "OPENCODE_CONFIG=/opencode",
                              "Uvicorn running", "listening on") if word not in told] == []  # fmt: skip
    forms = [form for key in keys for form in (key, base64.b64encode(key.encode()).decode().rstrip("="))]
    assert [form for form in forms if form in told] == []
    assert await files_with(stack.state, ["word 3"]), "what is in a file is found"
    assert await files_with(stack.state, forms) == ""


async def all_that_docker_tells(stack: Stack) -> str:
    """Inspections, processes with their environments, and logs of all containers of the stack; its networks."""
    ours = ("-q", "--filter", f"label=open-persona.instance={stack.instance}")
    runners = (await docker("ps", "-a", *ours)).split()
    containers = [*(stack.container(name) for name in WITHOUT_WEBUI), *runners]
    networks = (
        await docker("network", "ls", "-q", "--filter", f"label=open-persona.instance={stack.instance}")
    ).split()
    told = [await docker("inspect", *containers), await docker("network", "inspect", *networks)]
    for container in containers:
        told.append(await docker("top", container, "axeww", "-o", "pid,args"))
        told.append(await run("sh", "-c", f"docker logs {container} 2>&1"))
    return "\n".join(told)


async def files_with(folder: Path, words: Sequence[str]) -> str:
    """The files below ``folder`` that hold one of these words, databases included."""
    patterns = [part for word in words for part in ("-e", word)]
    return await run(
        "sh", "-c", 'folder=$1; shift; grep -rlaF "$@" "$folder" || [ $? = 1 ]', "sh", str(folder), *patterns
    )
