"""The calls that exist. Whatever is not in ``CALLS`` does not: there is no rule that forbids, only rules that allow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from spawner.errors import Malformed, Refused
from spawner.names import ID, NETWORK_NAME, RUNNER_NAME
from spawner.queries import Rule, filters, flag, matching, moment, off, read_query, signal, tail, whole

MIN_VERSION: Final = 40
MAX_VERSION: Final = 52
"""The versions 1.x of Docker's API whose fields were compared with the rules here."""

MAX_TARGET: Final = 4096
MAX_STOP_S: Final = 60

CONTAINER: Final = f"(?:{RUNNER_NAME}|{ID})"
NETWORK: Final = f"(?:{NETWORK_NAME}|{ID})"
IMAGE: Final = r"(?!.*(?:\.\.|//|/\.))[a-z0-9][A-Za-z0-9._:/@-]{0,254}"
_VERSION: Final = re.compile(r"/v1\.([0-9]{2})(/.*)")


@dataclass(frozen=True)
class Call:
    """One allowed call. ``path`` has at most one ``{}``, what it acts on, which has to match ``target``."""

    name: str
    method: str
    path: str
    target: str = ""
    query: Mapping[str, Rule] = field(default_factory=dict)
    body: bool = False

    def match(self, path: str) -> re.Match[str] | None:
        pattern = re.escape(self.path).replace(r"\{\}", f"(?P<target>{self.target})")
        return re.fullmatch(pattern, path)


@dataclass(frozen=True)
class Asked:
    """A call as it was asked for: ``version`` is the prefix to send on (``/v1.41`` or empty)."""

    call: Call
    version: str
    target: str
    query: Mapping[str, str]

    def path(self, target: str = "") -> str:
        return self.version + self.call.path.format(target)


_LIST: Final = {
    "all": flag,
    "limit": whole(-1, 10_000),
    "size": off,
    "trunc_cmd": flag,
    "filters": filters("label", "name", "status", "id"),
}
_LOGS: Final = {"stdout": flag, "stderr": flag, "timestamps": flag, "follow": off, "tail": tail}
_EVENTS: Final = {"since": moment, "until": moment, "filters": filters("label", "type", "event", "container")}

CALLS: Final = (
    Call("ping", "GET", "/_ping"),
    Call("version", "GET", "/version"),
    Call("events", "GET", "/events", query=_EVENTS),
    Call("image_inspect", "GET", "/images/{}/json", IMAGE),
    Call("container_list", "GET", "/containers/json", query=_LIST),
    Call(
        "container_create",
        "POST",
        "/containers/create",
        query={"name": matching(RUNNER_NAME, "a runner's name, open-persona-runner-<16 hex>-<8 hex>")},
        body=True,
    ),
    Call("container_inspect", "GET", "/containers/{}/json", CONTAINER, {"size": off}),
    Call("container_start", "POST", "/containers/{}/start", CONTAINER),
    Call("container_stop", "POST", "/containers/{}/stop", CONTAINER, {"t": whole(0, MAX_STOP_S)}),
    Call("container_kill", "POST", "/containers/{}/kill", CONTAINER, {"signal": signal}),
    Call("container_pause", "POST", "/containers/{}/pause", CONTAINER),
    Call("container_unpause", "POST", "/containers/{}/unpause", CONTAINER),
    Call("container_remove", "DELETE", "/containers/{}", CONTAINER, {"force": flag, "v": flag, "link": off}),
    Call("container_logs", "GET", "/containers/{}/logs", CONTAINER, _LOGS),
    Call("container_top", "GET", "/containers/{}/top", CONTAINER),
    Call("network_list", "GET", "/networks", query={"filters": filters("label", "name", "id")}),
    Call("network_create", "POST", "/networks/create", body=True),
    Call("network_inspect", "GET", "/networks/{}", NETWORK),
    Call("network_remove", "DELETE", "/networks/{}", NETWORK),
    Call("network_connect", "POST", "/networks/{}/connect", NETWORK, body=True),
    Call("network_disconnect", "POST", "/networks/{}/disconnect", NETWORK, body=True),
)


def read_call(method: str, target: str) -> Asked:
    """The call that a request line asks for; ``target`` as it was sent, undecoded.

    Raises ``Refused``: there is no such call. ``Malformed``: its query string can't be read in one way only.
    """
    if len(target) > MAX_TARGET:
        raise Malformed(f"The request line must not be longer than {MAX_TARGET} characters.")
    path, _, query = target.partition("?")
    version, path = _versioned(path)
    for call in CALLS:
        if call.method == method and (found := call.match(path)):
            return Asked(call, version, found.groupdict().get("target", ""), read_query(query, call.query))
    raise Refused(
        "The spawner has no such call. It makes, starts, stops and removes runners and their networks, "
        "and tells about them; docs/reference/spawner.md lists the calls."
    )


def _versioned(path: str) -> tuple[str, str]:
    found = _VERSION.fullmatch(path)
    if found is None:
        return "", path
    if not MIN_VERSION <= int(found[1]) <= MAX_VERSION:
        raise Malformed(f"The spawner knows Docker's API from 1.{MIN_VERSION} to 1.{MAX_VERSION}.")
    return f"/v1.{int(found[1])}", found[2]
