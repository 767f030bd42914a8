"""Which calls there are, read from the request line as it was sent."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spawner.calls import CALLS, MAX_VERSION, MIN_VERSION, read_call
from spawner.errors import CallError
from spawner.queries import narrowed
from tests.spawner.bodies import NAME, NETWORK

BY_LABEL = "%7B%22label%22%3A+%5B%22a%3Db%22%5D%7D"
FULL = "0123456789abcdef" * 4
ALLOWED = {
    "GET /_ping": "ping",
    "GET /version": "version",
    f"GET /v1.41/containers/json?limit=-1&all=1&size=0&trunc_cmd=0&filters={BY_LABEL}": "container_list",
    f"POST /v1.41/containers/create?name={NAME}": "container_create",
    f"GET /containers/{NAME}/json": "container_inspect",
    f"POST /v1.41/containers/{FULL}/start": "container_start",
    f"POST /v1.41/containers/{FULL[:12]}/stop?t=10": "container_stop",
    f"POST /v1.41/containers/{FULL}/kill": "container_kill",
    f"POST /v1.41/containers/{FULL}/kill?signal=SIGTERM": "container_kill",
    f"POST /v1.41/containers/{FULL}/pause": "container_pause",
    f"POST /v1.41/containers/{FULL}/unpause": "container_unpause",
    f"DELETE /v1.41/containers/{FULL}?v=False&link=False&force=True": "container_remove",
    f"GET /v1.41/containers/{FULL}/logs?stderr=1&stdout=1&timestamps=0&follow=0&tail=40": "container_logs",
    f"GET /v1.41/containers/{FULL}/top": "container_top",
    "GET /v1.41/images/open-persona-runner:1.18.33/json": "image_inspect",
    "GET /v1.41/networks?filters=%7B%7D": "network_list",
    f"GET /v1.41/networks/{NETWORK}": "network_inspect",
    "POST /v1.41/networks/create": "network_create",
    f"DELETE /v1.41/networks/{FULL}": "network_remove",
    f"POST /v1.41/networks/{FULL}/connect": "network_connect",
    f"POST /v1.41/networks/{FULL}/disconnect": "network_disconnect",
    "GET /v1.41/events?since=1764200000.123456789": "events",
}
PLAIN = {("GET", path) for path in ("_ping", "version", "events", "containers/json", "networks")} | {
    ("POST", path) for path in ("containers/create", "networks/create")
}
"""Those that need neither a target nor a parameter to be read; a create without its name is refused later."""
REFUSED = [
    # Calls that Docker has and nobody needs here
    f"POST /containers/{NAME}/exec",
    f"POST /exec/{FULL}/start",
    f"POST /containers/{NAME}/attach?stream=1",
    f"GET /containers/{NAME}/attach/ws",
    f"GET /containers/{NAME}/archive?path=/",
    f"PUT /containers/{NAME}/archive?path=/",
    f"GET /containers/{NAME}/export",
    f"GET /containers/{NAME}/stats",
    f"GET /containers/{NAME}/changes",
    f"POST /containers/{NAME}/update",
    f"POST /containers/{NAME}/rename?name=x",
    f"POST /containers/{NAME}/restart",
    f"POST /containers/{NAME}/resize?h=1&w=1",
    f"POST /containers/{NAME}/wait",
    "POST /containers/prune",
    "POST /networks/prune",
    "POST /images/create?fromImage=x",
    "GET /images/json",
    "DELETE /images/open-persona-runner:1.18.33",
    "POST /images/open-persona-runner:1.18.33/tag?repo=x",
    "POST /build",
    "POST /commit?container=x",
    "POST /session",
    "POST /grpc",
    "GET /volumes",
    "POST /volumes/create",
    "GET /plugins",
    "POST /plugins/pull?remote=x",
    "GET /secrets",
    "POST /swarm/init",
    "GET /info",
    "POST /auth",
    "GET /system/df",
    "GET /distribution/x/json",
    "HEAD /_ping",
    "OPTIONS *",
    "CONNECT docker:80",
    "GET http://docker/_ping",
    "GET *",
    "GET /",
    "GET ",
    # The right call in the wrong dress
    "PATCH /version",
    "get /version",
    "POST /version",
    "GET /_ping/",
    "GET //_ping",
    "GET /./_ping",
    "GET /v1.41/../_ping",
    "GET /v1.41//_ping",
    "GET /v1.41/v1.41/_ping",
    "GET /%5fping",
    "GET /_ping#x",
    "GET /v1.39/_ping",
    "GET /v1.99/_ping",
    "GET /v1.4/_ping",
    "GET /v1.041/_ping",
    "GET /v2.41/_ping",
    "GET /v1.٤١/_ping",
    f"GET /containers/{NAME}%2fjson",
    f"GET /containers/{NAME}%00/json",
    f"GET /containers/{NAME}/../{FULL}/json",
    "GET /containers/open-persona-sidecar/json",
    "GET /containers/0123/json",
    f"GET /containers/{FULL}0/json",
    f"GET /containers/{FULL.upper()}/json",
    "GET /networks/bridge",
    "GET /networks/host",
    "POST /networks/bridge/connect",
    "DELETE /networks/bridge",
    "GET /images/../containers/json",
    "GET /images/a/../json",
    f"GET /images/{'a' * 300}/json",
    # Parameters
    "POST /containers/create?name=evil",
    f"POST /containers/create?name={NAME}&name={NAME}",
    f"POST /containers/create?name={NAME}&platform=linux",
    f"POST /containers/create?name={NAME};x=1",
    f"POST /containers/create?name={NAME}%0a",
    f"POST /containers/create?n%61me={NAME}",
    f"GET /containers/{NAME}/top?ps_args=-eo%20args",
    f"GET /containers/{NAME}/logs?follow=1",
    f"GET /containers/{NAME}/logs?tail=99999999",
    f"GET /containers/{NAME}/logs?tail=-1",
    f"POST /containers/{NAME}/stop?t=86400",
    f"POST /containers/{NAME}/stop?t=-1",
    f"POST /containers/{NAME}/kill?signal=SIGSTOP",
    f"POST /containers/{NAME}/start?detachKeys=x",
    f"DELETE /containers/{NAME}?link=1",
    f"DELETE /containers/{NAME}?force=maybe",
    f"DELETE /containers/{NAME}?force",
    "GET /containers/json?all=1&all=0",
    "GET /containers/json?size=1",
    "GET /containers/json?filters=x",
    "GET /containers/json?filters=[]",
    "GET /containers/json?filters=%7B%22volume%22%3A%5B%22x%22%5D%7D",
    "GET /containers/json?filters=%7B%22label%22%3A%7B%22a%22%3Afalse%7D%7D",
    "GET /containers/json?filters=%7B%22label%22%3A%5B1%5D%7D",
    "GET /containers/json?filters=%7B%22label%22%3A%5B%5D%2C%22label%22%3A%5B%5D%7D",
    "GET /containers/json?filters=%ff",
    "GET /events?filters=%7B%22image%22%3A%5B%22x%22%5D%7D",
    "GET /events?since=now",
    "GET /events?since=1e9",
    "GET /_ping?x=1",
    "GET /_ping?=",
    "GET /_ping?a=" + "b" * 5000,
]


def read(line: str) -> str:
    method, _, target = line.partition(" ")
    return read_call(method, target).call.name


@pytest.mark.requirement("spawner:calls")
@pytest.mark.parametrize(("line", "name"), ALLOWED.items(), ids=ALLOWED.values())
def test_the_calls_of_the_runner_code_are_there(line: str, name: str) -> None:
    assert read(line) == name


@pytest.mark.requirement("spawner:calls")
def test_no_call_is_there_that_the_runner_code_does_not_make() -> None:
    assert {call.name for call in CALLS} == set(ALLOWED.values())


@pytest.mark.requirement("spawner:calls")
@pytest.mark.parametrize("line", REFUSED)
def test_everything_else_is_refused(line: str) -> None:
    with pytest.raises(CallError) as refusal:
        read(line)
    assert refusal.value.status in (400, 403)


@pytest.mark.requirement("spawner:calls")
@settings(deadline=None)
@given(method=st.sampled_from(["GET", "POST", "DELETE", "PUT"]), target=st.text(st.characters(codec="ascii")))
def test_no_other_request_line_is_a_call(method: str, target: str) -> None:
    try:
        read_call(method, f"/v1.41/{target}")
    except CallError:
        return
    assert (method, target.removesuffix("?")) in PLAIN


@pytest.mark.requirement("spawner:calls")
@settings(deadline=None)
@given(st.integers(0, 199))
def test_a_version_is_sent_on_as_it_was_read(minor: int) -> None:
    if MIN_VERSION <= minor <= MAX_VERSION:
        assert read_call("GET", f"/v1.{minor}/networks/{NETWORK}").path("x") == f"/v1.{minor}/networks/x"
    else:
        with pytest.raises(CallError):
            read_call("GET", f"/v1.{minor}/networks/{NETWORK}")


@pytest.mark.requirement("spawner:ours-alone")
@settings(deadline=None)
@given(st.lists(st.from_regex(r"\A[a-z.]{1,8}=[a-z0-9]{0,8}\Z"), max_size=3), st.booleans())
def test_our_label_is_always_among_the_filters(labels: list[str], as_object: bool) -> None:
    given_labels = dict.fromkeys(labels, True) if as_object else labels
    query = urlencode({"filters": json.dumps({"label": given_labels})}, quote_via=quote if as_object else quote_plus)
    asked = read_call("GET", f"/v1.41/containers/json?{query}")
    narrow = json.loads(narrowed(asked.query["filters"], "open-persona.spawner=x"))
    assert narrow == {"label": [*given_labels, "open-persona.spawner=x"]}


@pytest.mark.requirement("docs:spawner")
def test_the_page_lists_every_call_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "spawner.md").read_text()
    listed = set(re.findall(r"^\| `([A-Z]+) (/[^`?]*)", page, re.MULTILINE))
    assert listed == {(call.method, call.path.format("<id>" if call.target else "")) for call in CALLS}
