"""The real spawner before the real Docker, asked by somebody who has taken over the sidecar."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from docker.errors import APIError

from tests.e2e.docker.engine import Engine
from tests.e2e.docker.spawner_rig import IMAGE, MARK, Json, Rig, plain_container, running_rig
from tests.spawner.bodies import SECRET, make_folders
from tests.spawner.hostile import CONTAINERS, NETWORKS, Change

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Rig]:
    """With the user's network there, so that nothing but the body keeps a container from being made."""
    with running_rig(tmp_path_factory.mktemp("spawner"), engine) as rig:
        answer = post(rig, "/networks/create", rig.network_body())
        assert answer.status_code == 201, answer.text
        yield rig


@pytest.fixture(autouse=True)
def _nothing_happens(rig: Rig) -> Iterator[None]:
    before = rig.world()
    yield
    assert rig.world() == before


def post(rig: Rig, path: str, body: Any) -> requests.Response:
    session: requests.Session = rig.spawned
    return session.post(f"http+docker://localhost/v1.41{path}", json=body, timeout=20)


def raw(rig: Rig, request: bytes) -> bytes:
    """All that comes back to the bytes ``request`` until the spawner closes, as it does after a refusal."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(8)
        connection.connect(str(rig.socket))
        answer = b""
        try:
            connection.sendall(request)
            while piece := connection.recv(65536):
                answer += piece
        except (TimeoutError, ConnectionError):
            pass
        return answer


@pytest.mark.requirement("spawner:nothing-happens")
def test_hostile_containers_are_refused(rig: Rig) -> None:
    def ask(change: Change) -> requests.Response:
        body = rig.body()
        change(body)
        return post(rig, f"/containers/create?name={rig.name}", body)

    answers = {name: ask(change) for name, change in CONTAINERS.items()}
    assert len(answers) > 100
    assert {name: answer.text for name, answer in answers.items() if answer.status_code != 403} == {}
    assert [name for name, answer in answers.items() if list(answer.json()) != ["message"]] == []
    assert [name for name, answer in answers.items() if SECRET in answer.text] == []


@pytest.mark.requirement("spawner:nothing-happens")
def test_hostile_networks_are_refused(rig: Rig) -> None:
    def ask(change: Change) -> requests.Response:
        body = rig.network_body()
        change(body)
        return post(rig, "/networks/create", body)

    answers = {name: ask(change) for name, change in NETWORKS.items()}
    assert {name: answer.text for name, answer in answers.items() if answer.status_code != 403} == {}


@pytest.mark.requirement("spawner:nothing-happens")
@pytest.mark.parametrize("query", ["", "?name=", "?name=evil", "?name=bridge", "?name={name}&name=evil"])
def test_a_container_of_another_name_is_refused(query: str, rig: Rig) -> None:
    answer = post(rig, "/containers/create" + query.format(name=rig.name), rig.body())
    assert answer.status_code in (400, 403)


@pytest.mark.requirement("spawner:nothing-happens")
@pytest.mark.parametrize(
    "text",
    [
        lambda body: body[:-1] + ',"Image":"opbase/debian:bookworm"}',
        lambda body: body[:-1] + ',"hostconfig":{"Privileged":true}}',
        lambda body: body.replace('"Memory": ', '"Memory": NaN, "Memory": '),
        lambda body: body + '{"HostConfig":{"Privileged":true}}',
        lambda body: "[" + body + "]",
        lambda body: body + " " * 70_000,
        lambda body: "",
    ],
    ids=["field twice", "field in another case", "not a number", "two texts", "a list", "too long", "empty"],
)
def test_a_text_with_two_meanings_is_refused(text: Callable[[str], str], rig: Rig) -> None:
    url = f"http+docker://localhost/v1.41/containers/create?name={rig.name}"
    headers = {"Content-Type": "application/json"}
    answer = rig.spawned.post(url, data=text(json.dumps(rig.body())), headers=headers, timeout=20)
    assert answer.status_code in (400, 403)
    assert list(answer.json()) == ["message"]


def _create(rig: Rig, *, head: str = "", target: str = "", body: str = "") -> bytes:
    body = body or json.dumps({**rig.body(), "HostConfig": {"Privileged": True}})
    target = target or f"/v1.41/containers/create?name={rig.name}"
    head = head or f"Content-Length: {len(body)}\r\n"
    return f"POST {target} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n{head}\r\n{body}".encode()


def _allowed(rig: Rig, head: str) -> bytes:
    """A body that would pass, under a head that must not."""
    return _create(rig, head=head, body=json.dumps(rig.body()))


SMUGGLED: dict[str, Callable[[Rig], bytes]] = {
    "behind-a-ping": lambda rig: b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n" + _create(rig),
    "as-the-body-of-a-ping": lambda rig: (
        b"GET /_ping HTTP/1.1\r\nHost: docker\r\nContent-Length: %d\r\n\r\n" % len(_create(rig)) + _create(rig)
    ),
    "behind-a-refused-call": lambda rig: (
        b"POST /build HTTP/1.1\r\nHost: docker\r\nContent-Length: 5\r\n\r\nhello" + _create(rig, body="{}")
    ),
    "chunked": lambda rig: _allowed(rig, "Transfer-Encoding: chunked\r\n"),
    "length-and-chunked": lambda rig: _allowed(rig, "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
    "chunked-in-disguise": lambda rig: _allowed(rig, "Transfer-Encoding : chunked\r\n"),
    "chunked-odd": lambda rig: _allowed(rig, "Transfer-Encoding: xchunked\r\n"),
    "two-lengths": lambda rig: _allowed(rig, "Content-Length: 3\r\nContent-Length: 900\r\n"),
    "length-list": lambda rig: _allowed(rig, "Content-Length: 3, 900\r\n"),
    "length-signed": lambda rig: _allowed(rig, "Content-Length: +900\r\n"),
    "length-too-long": lambda rig: _allowed(rig, "Content-Length: 9999\r\n"),
    "length-too-short": lambda rig: _allowed(rig, "Content-Length: 10\r\n"),
    "expectation": lambda rig: _allowed(rig, "Content-Length: 900\r\nExpect: 100-continue\r\n"),
    "encoded": lambda rig: _allowed(rig, "Content-Length: 900\r\nContent-Encoding: gzip\r\n"),
    "upgrade": lambda rig: _allowed(rig, "Content-Length: 900\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"),
    "folded-header": lambda rig: _allowed(rig, "X-A: b\r\n Content-Length: 900\r\n"),
    "bare-line-feeds": lambda rig: _allowed(rig, "Content-Length: 900\r\n").replace(b"\r\n", b"\n"),
    "hijack": lambda rig: b"POST /session HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "http2": lambda rig: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "absolute": lambda rig: _create(rig, target=f"http://docker/containers/create?name={rig.name}"),
    "encoded-slash": lambda rig: _create(rig, target=f"/v1.41/containers%2fcreate?name={rig.name}"),
    "dot-dot": lambda rig: _create(rig, target=f"/v1.41/images/../containers/create?name={rig.name}"),
    "double-slash": lambda rig: _create(rig, target=f"//containers/create?name={rig.name}"),
    "nul": lambda rig: _create(rig, target=f"/v1.41/containers/create\0?name={rig.name}"),
    "tab": lambda rig: _create(rig, target=f"/v1.41/containers/create\t?name={rig.name}"),
    "long-line": lambda rig: b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: docker\r\n\r\n",
    "tls": lambda rig: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + SECRET.encode(),
}


@pytest.mark.requirement("spawner:heads")
@pytest.mark.requirement("spawner:nothing-happens")
def test_nothing_is_smuggled_past_the_rules(rig: Rig) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(SMUGGLED, pool.map(lambda make: raw(rig, make(rig)), SMUGGLED.values()), strict=True))
    statuses = {name: re.findall(rb"HTTP/1\.[01] ([0-9]{3})", answer) for name, answer in answers.items()}
    assert {name: got for name, got in statuses.items() if got[-1:] not in ([b"400"], [b"403"])} == {}
    assert {name: got for name, got in statuses.items() if got[:-1] not in ([], [b"200"])} == {}
    assert SECRET not in rig.log


FOREIGN_CALLS: dict[str, tuple[str, str]] = {
    "inspect": ("GET", "/containers/{}/json"),
    "logs": ("GET", "/containers/{}/logs?stdout=1&tail=5"),
    "top": ("GET", "/containers/{}/top"),
    "start": ("POST", "/containers/{}/start"),
    "stop": ("POST", "/containers/{}/stop?t=0"),
    "kill": ("POST", "/containers/{}/kill"),
    "pause": ("POST", "/containers/{}/pause"),
    "unpause": ("POST", "/containers/{}/unpause"),
    "remove": ("DELETE", "/containers/{}?force=1&v=1"),
}


@pytest.fixture(scope="module")
def foreign(rig: Rig) -> Json:
    """A container with a runner's name that was not made through the spawner."""
    identifier = plain_container(rig.docker, f"open-persona-runner-{rig.workspace}-ffffffff")
    return dict(rig.docker.inspect_container(identifier))


@pytest.mark.requirement("spawner:ours-alone")
@pytest.mark.parametrize(("method", "path"), FOREIGN_CALLS.values(), ids=FOREIGN_CALLS)
def test_what_was_not_made_here_is_not_touched(method: str, path: str, foreign: Json, rig: Rig) -> None:
    for target in (foreign["Name"][1:], foreign["Id"], foreign["Id"][:12]):
        url = "http+docker://localhost/v1.41" + path.format(target)
        answer = rig.spawned.request(method, url, timeout=20)
        assert answer.status_code == 403
        assert "not made by this spawner" in answer.json()["message"]
    now = rig.docker.inspect_container(foreign["Id"])
    assert (now["State"]["Status"], now["State"]["Pid"]) == ("running", foreign["State"]["Pid"])


@pytest.mark.requirement("spawner:ours-alone")
def test_what_was_not_made_here_is_not_listed(foreign: Json, rig: Rig) -> None:
    client = rig.spawned
    assert client.containers(all=True) == []
    assert client.containers(all=True, filters={"label": [f"{MARK}=1"]}) == []
    assert [network["Name"] for network in client.networks()] == [rig.network]
    with pytest.raises(APIError, match="no such call"):
        client.inspect_network("bridge")


@pytest.mark.requirement("spawner:network")
def test_nobody_else_joins_a_network(foreign: Json, rig: Rig) -> None:
    for container in (foreign["Id"], foreign["Name"][1:]):
        refused = {"Container": container, "EndpointConfig": {"Aliases": ["open-persona-sidecar"]}}
        answer = post(rig, f"/networks/{rig.network}/connect", refused)
        assert answer.status_code == 403
    sidecar, hub = rig.services
    for container, alias in ((sidecar, "open-persona-hub"), (hub, "open-persona-sidecar"), (sidecar, "evil")):
        answer = post(
            rig, f"/networks/{rig.network}/connect", {"Container": container, "EndpointConfig": {"Aliases": [alias]}}
        )
        assert answer.status_code == 403
    assert post(rig, f"/networks/{rig.network}/connect", {"Container": sidecar}).status_code == 403
    assert not rig.docker.inspect_network(rig.network)["Containers"]


@pytest.mark.requirement("spawner:network")
def test_a_network_that_was_not_made_here_is_not_touched(rig: Rig) -> None:
    name = "open-persona-net-" + "f" * 16
    made = rig.docker.create_network(name, internal=True, labels={"open-persona.network": "1"})
    sidecar = rig.services[0]
    try:
        for target in (name, made["Id"], made["Id"][:12]):
            url = f"http+docker://localhost/v1.41/networks/{target}"
            assert rig.spawned.get(url, timeout=9).status_code == 403
            assert rig.spawned.delete(url, timeout=9).status_code == 403
            alias = {"Aliases": ["open-persona-sidecar"]}
            joined = post(rig, f"/networks/{target}/connect", {"Container": sidecar, "EndpointConfig": alias})
            assert joined.status_code == 403
            assert post(rig, f"/networks/{target}/disconnect", {"Container": sidecar}).status_code == 403
        assert not rig.docker.inspect_network(made["Id"])["Containers"]
    finally:
        rig.docker.remove_network(made["Id"])


@pytest.mark.requirement("spawner:network")
def test_a_container_is_not_put_into_a_network_that_was_not_made_here(rig: Rig) -> None:
    workspace = "e" * 16
    name = f"open-persona-net-{workspace}"
    made = rig.docker.create_network(name)
    body = json.loads(json.dumps(rig.body()).replace(rig.workspace, workspace))
    make_folders(rig.data, workspace=workspace, sig=rig.sig)
    try:
        answer = post(rig, f"/containers/create?name=open-persona-runner-{workspace}-{rig.sig}", body)
        assert answer.status_code == 403
        assert "not made by this spawner" in answer.json()["message"]
    finally:
        rig.docker.remove_network(made["Id"])


@pytest.mark.requirement("spawner:folders")
def test_a_folder_that_is_a_link_is_refused(rig: Rig) -> None:
    workspace = rig.data / "workspaces" / rig.workspace
    workspace.rename(rig.data / "kept")
    try:
        workspace.symlink_to("/")
        answer = post(rig, f"/containers/create?name={rig.name}", rig.body())
    finally:
        workspace.unlink()
        (rig.data / "kept").rename(workspace)
    assert answer.status_code == 403


@pytest.mark.requirement("spawner:nothing-happens")
@pytest.mark.parametrize("image", ["opbase/debian:bookworm", "opbase/runner:base", f"{IMAGE}x", "sha256:" + "0" * 64])
def test_other_images_are_not_told_of(image: str, rig: Rig) -> None:
    with pytest.raises(APIError, match="The only image is"):
        rig.spawned.inspect_image(image)


@pytest.mark.requirement("spawner:no-secret-back")
def test_each_refusal_is_one_line_in_the_log_without_what_was_sent(rig: Rig) -> None:
    before = rig.log.count("\n")
    body = {**rig.body(), "Privi\nleged": SECRET}
    assert post(rig, f"/containers/create?name={rig.name}", body).status_code == 403
    added = rig.log.splitlines()[before:]
    assert len(added) == 1
    assert "refused POST /v1.41/containers/create (403): Privi?leged: is not allowed." in added[0]
    assert SECRET not in rig.log
