"""An agent gone bad in its runner's container: what it tries to reach, read, write and become. Each is refused."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr

from hub.app import create_app as create_hub
from hub.app import open_hub
from hub.settings import HubSettings
from sidecar.app import create_app as create_sidecar
from sidecar.identity import runner_token
from sidecar.runners.base import RunnerSpec
from sidecar.runners.docker_runner import DockerRunner
from sidecar.settings import Settings
from tests.e2e.docker.doors_of_host import API_KEY, SERVICE_KEY, Doors, running_doors
from tests.e2e.docker.engine import Engine, docker
from tests.e2e.docker.firewall import firewall
from tests.e2e.docker.inside import Inside
from tests.e2e.docker.runners import Deployment, running_mode, until
from tests.raw_calls import calls_of, odd_targets

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
BRIDGE = "oprun-d0"
"""Of both runners' networks, and of no other test's: its firewall is for these alone."""
PATIENT = {"runner_start_timeout_s": 120, "runner_health_timeout_s": 120}
CANARY = "what only bob may read"
ELSEWHERE = ["169.254.169.254:80", "1.1.1.1:443", "8.8.8.8:53", "192.168.0.1:80", "10.0.0.1:80"]


@dataclass(frozen=True)
class Scene:
    """Two users' runners, ``ann`` the bad one, and the doors, with the firewall installed."""

    deployment: Deployment
    doors: Doors
    ann: Inside
    bob: Inside
    specs: tuple[RunnerSpec, RunnerSpec]
    gateway: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    home = tmp_path_factory.mktemp("data")
    home.chmod(0o755)
    async with running_mode(home, engine, **PATIENT) as deployment:
        token_key = deployment.settings.token_key.get_secret_value()
        async with running_doors(tmp_path_factory.mktemp("doors"), token_key) as doors:
            ports = f"tcp:{doors.sidecar},tcp:{doors.hub}"
            with firewall(f"{BRIDGE}+", "--allow", ports):
                ann, bob = (deployment.runner(user) for user in users_on_bridge(deployment))
                inside = [await started(runner) for runner in (ann, bob)]
                (bob.spec.workspace / "secret.txt").write_text(CANARY)
                gateway = str(await gateway_of(ann))
                yield Scene(deployment, doors, inside[0], inside[1], (ann.spec, bob.spec), gateway)


def users_on_bridge(deployment: Deployment) -> list[str]:
    """Two user ids whose networks' bridges are this test's."""
    wanted = BRIDGE.removeprefix("oprun-")
    ids = (f"user{number}" for number in itertools.count())
    return list(itertools.islice((u for u in ids if deployment.spec(u).workspace_hash.startswith(wanted)), 2))


async def started(runner: DockerRunner) -> Inside:
    url = await runner.start()
    return Inside(runner.spec.name, url.removeprefix("http://").partition(":")[0])


async def gateway_of(runner: DockerRunner) -> str:
    network = f"open-persona-net-{runner.spec.workspace_hash}"
    told = docker("network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}}{{end}}", network)
    return told.rpartition(".")[0] + "." + str(int(told.rpartition(".")[2].partition("/")[0]) + 1)


def host_address() -> str:
    """The host's own, towards the rest of the world; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


@contextmanager
def listening(address: str) -> Iterator[int]:
    """A program of the host's on this address; its port."""
    with socket.create_server((address, 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.requirement("hostile:files")
async def test_nobody_elses_files_can_be_read_and_nothing_of_the_system_written(scene: Scene) -> None:
    ann, bob = scene.specs
    told = await scene.ann.told("files", scene.deployment.settings.home, bob.workspace_hash, ann.workspace_hash)
    assert told.pop("own workspace") == "works"
    assert len(told) > 30
    assert {what: found for what, found in told.items() if found != "none"} == {}
    assert (bob.workspace / "secret.txt").read_text() == CANARY


@pytest.mark.requirement("hostile:files")
async def test_the_mounts_are_its_own_folders_and_no_other(scene: Scene) -> None:
    found = docker("exec", scene.ann.container, "cat", "/proc/self/mountinfo")
    fields = [line.split() for line in found.splitlines()]
    from_host = {line[4]: line[5].split(",")[0] for line in fields if line[line.index("-") + 1] not in VIRTUAL}
    dockers_own = ("/etc/", "/sbin/docker-init", "/usr/sbin/docker-init")
    kept = {target: how for target, how in from_host.items() if not target.startswith(dockers_own)}
    folders = dict.fromkeys(("/opencode/state", "/opencode/cache", "/opencode/data", "/workspace"), "rw")
    assert kept == {"/": "ro", "/opencode/config": "ro", **folders}


VIRTUAL = {"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"}


@pytest.mark.requirement("hostile:network")
async def test_other_runners_the_host_metadata_and_the_internet_are_out_of_reach(scene: Scene) -> None:
    with listening(scene.gateway) as on_gateway, listening("0.0.0.0") as everywhere:
        hosts = [f"{scene.gateway}:{on_gateway}", f"{scene.gateway}:{everywhere}"]
        hosts += [f"{address}:{everywhere}" for address in ("172.17.0.1", host_address())]
        targets = [f"{scene.bob.address}:4096", *hosts, f"{scene.gateway}:22", f"{scene.gateway}:2375", *ELSEWHERE]
        told = await scene.ann.told("calls", lines=[*targets, f"127.0.0.1:{everywhere}"])
    assert len(told) == len({*targets}) + 1
    assert {what: found for what, found in told.items() if found == "reached"} == {}
    own = await scene.ann.told("calls", lines=[f"{scene.ann.address}:4096", f"open-persona-hub:{scene.doors.hub}"])
    assert set(own.values()) == {"reached"}


@pytest.mark.requirement("hostile:network")
async def test_no_name_of_the_world_outside_is_told(scene: Scene) -> None:
    names = ("example.com", "metadata.google.internal", "host.docker.internal", scene.bob.container)
    assert set((await scene.ann.told("names", *names)).values()) == {"none"}
    assert (await scene.ann.told("names", "open-persona-hub"))["open-persona-hub"] == scene.gateway


@pytest.mark.requirement("hostile:network")
async def test_there_is_no_second_protocol(scene: Scene) -> None:
    """Rules for IPv4 would not hold for it."""
    assert docker("exec", scene.ann.container, "cat", "/proc/net/if_inet6") == ""


@pytest.mark.requirement("hostile:doors")
async def test_every_route_of_sidecar_and_hub_is_a_404_whatever_key_was_stolen(scene: Scene, tmp_path: Path) -> None:
    token = scene.specs[0].token.get_secret_value()
    for name, port, routes, door in await routes_of(scene, tmp_path):
        headers = ["-", *(f"Authorization: Bearer {key}" for key in (token, API_KEY, SERVICE_KEY))]
        odd = [target for route in ("/healthz", "/status") for target in odd_targets(door, route, f"http://{name}")]
        asked = [*routes, *(("GET", target) for target in odd), *(("OPTIONS", path) for _, path in routes)]
        for header in (*headers, "X-Forwarded-For: 127.0.0.1"):
            lines = [f"{method} {target} {header}" for method, target in asked]
            told = await scene.ann.told("doors", name, port, lines=lines)
            assert len(told) == len({(method, target) for method, target in asked})
            assert {what: status for what, status in told.items() if status != "404"} == {}, (name, header)


async def routes_of(scene: Scene, tmp_path: Path) -> list[tuple[str, int, list[tuple[str, str]], str]]:
    """(host, port, routes, door) of both, from their own route tables."""
    key = SecretStr("k")
    sidecar = create_sidecar(Settings(home=tmp_path, sidecar_api_key=key, token_key=key, service_key=key))
    (tmp_path / "servers").mkdir()
    async with open_hub(HubSettings(home=tmp_path, mcp_servers_dir=tmp_path / "servers", service_key=key)) as hub:
        of_hub = calls_of(create_hub(hub).own)
    of_sidecar = calls_of(sidecar)
    assert min(len(of_hub), len(of_sidecar)) > 4
    return [
        ("open-persona-sidecar", scene.doors.sidecar, of_sidecar, "/llm/"),
        ("open-persona-hub", scene.doors.hub, of_hub, "/mcp/"),
    ]


@pytest.mark.requirement("hostile:doors")
async def test_no_token_opens_a_door_without_a_turn(scene: Scene) -> None:
    own, others = (spec.token.get_secret_value() for spec in scene.specs)
    guessed = runner_token(SecretStr("guessed"), scene.specs[1].name).get_secret_value()
    for token in (own, others, guessed, API_KEY, SERVICE_KEY):
        bearer = f"Authorization: Bearer {token}"
        models = await scene.ann.told(
            "doors", "open-persona-sidecar", scene.doors.sidecar, lines=[f"POST /llm/openai/v1/responses {bearer}"]
        )
        tools = await scene.ann.told("doors", "open-persona-hub", scene.doors.hub, lines=[f"POST /mcp/web {bearer}"])
        assert (*models.values(), *tools.values()) == ("403", "404")


@pytest.mark.requirement("hostile:privileges")
async def test_it_becomes_nobody_else_and_changes_nothing_of_the_kernel(scene: Scene) -> None:
    told = await scene.ann.told("privileges")
    uid, _, _ = told.pop("user").partition(":")
    assert uid != "0"
    assert told.pop("a setuid program of its own") == uid
    assert (told.pop("NoNewPrivs:"), told.pop("Seccomp:")) == ("1", "2")
    assert len(told) > 30
    assert {what: found for what, found in told.items() if found != "none"} == {}


@pytest.mark.requirement("hostile:secrets")
async def test_what_it_can_read_of_opencode_is_its_own_token_and_no_key(scene: Scene) -> None:
    found = (await scene.ann.run("processes")).splitlines()
    variables = {line.removeprefix("variable: ") for line in found if line.startswith("variable: ")}
    secret = {name for name in variables if any(word in name for word in ("KEY", "TOKEN", "PASSWORD", "SECRET"))}
    assert secret == {"OPEN_PERSONA_RUNNER_TOKEN", "OPENCODE_SERVER_PASSWORD"}
    names = {line.split()[-1] for line in found if line.startswith("process: ")}
    assert names <= {"docker-init", "tini", "opencode", "bash", "bun", "MainThread"}
    assert CANARY not in "\n".join(found)


@pytest.mark.requirement("hostile:bombs")
async def test_a_fork_bomb_ends_at_the_limit_and_nobody_else_notices(scene: Scene) -> None:
    async with a_victim(scene) as (_, victim):
        bombing = asyncio.create_task(victim.run("fork_bomb", 60))
        limit = scene.deployment.settings.runner_pids
        async with asyncio.timeout(60):
            while pids_of(victim) < limit - 8:
                await asyncio.sleep(0.1)
        assert pids_of(victim) <= limit
        assert await answers_within(scene.bob, 20)
    await bombing


@pytest.mark.requirement("hostile:bombs")
async def test_a_memory_bomb_ends_in_its_own_container_and_is_told(scene: Scene) -> None:
    async with a_victim(scene) as (runner, victim):
        bombing = asyncio.create_task(victim.run("memory_bomb"))
        await until(lambda: runner.oom_count > 0, 60)
        assert await answers_within(scene.bob, 20)
        assert docker("inspect", "-f", "{{.State.OOMKilled}} {{.State.Running}}", scene.bob.container) == "false true"
    await bombing


@asynccontextmanager
async def a_victim(scene: Scene) -> AsyncIterator[tuple[DockerRunner, Inside]]:
    """A third runner, which does not outlive the block, nor does what runs in it."""
    runner = scene.deployment.runner("victim")
    try:
        yield runner, await started(runner)
    finally:
        docker("rm", "-f", runner.spec.name)


def pids_of(inside: Inside) -> int:
    """Read from the cgroup, since nothing can be started in there."""
    told = docker("stats", "--no-stream", "--format", "{{.PIDs}}", inside.container)
    return int(told) if told.isdigit() else 0


async def answers_within(inside: Inside, seconds: float) -> bool:
    """Whether a runner's opencode answers at all; it wants a password, so 401 is an answer."""
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(inside.address, 4096)
        writer.write(b"GET /global/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        line = await reader.readline()
        writer.close()
        return line.startswith(b"HTTP/1.1 401")
