"""Trying the firewall: a container in a network like a runner's calls a listener on the host's side of it.

The listener is bound to that network's gateway alone, for the seconds of the try. Container and network go afterwards,
also those of a try that was cut short.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final, Literal

import requests
from docker import APIClient
from docker.errors import APIError, NotFound

Outcome = Literal["kept out", "got in", "not this machine", "not allowed", "no room", "unclear"]

LABEL: Final = "open-persona.doctor"
BRIDGE: Final = "oprun-dr"
"""How the bridge's name begins. A runner's goes on with hexadecimal digits, so the two can't be mixed up."""
PREFIX: Final = 28
ATTEMPTS: Final = 20
STALE_S: Final = 300
TRY_S: Final = 5
RUN_S: Final = 20
FORBIDDEN: Final = (403, 405)
TAKEN: Final = ("overlap", "in use", "conflict")
"""Words of Docker's where another network, or a route of the host, has the subnet."""
SCRIPT: Final = 'timeout {seconds} bash -c ": <>/dev/tcp/{address}/{port}" 2>/dev/null; echo tried $?'
CONNECTED, SILENT, REFUSED = 0, 124, 1


class _NoRoom(Exception):
    pass


def try_firewall(client: APIClient, image: str, subnets: IPv4Network) -> Outcome:
    """Blocks for up to ``RUN_S`` and some calls. Raises ``DockerException`` and ``OSError`` where Docker fails."""
    _remove_stale(client)
    try:
        with _network(client, subnets) as (network, bridge, gateway):
            if not _is_here(bridge):
                return "not this machine"
            return _tried(client, image, network, gateway)
    except _NoRoom:
        return "no room"
    except APIError as error:
        if error.response is not None and error.response.status_code in FORBIDDEN:
            return "not allowed"
        raise


def _tried(client: APIClient, image: str, network: str, gateway: IPv4Address) -> Outcome:
    with socket.create_server((str(gateway), 0)) as listener:
        listener.settimeout(0)
        port = listener.getsockname()[1]
        status = _run(client, image, network, SCRIPT.format(seconds=TRY_S, address=gateway, port=port))
        return _judged(status, arrived=_arrived(listener))


def _is_here(bridge: str) -> bool:
    """Whether Docker makes its networks where this process is: a free address alone does not tell."""
    return any(name == bridge for _, name in socket.if_nameindex())


def _judged(status: int | None, *, arrived: bool) -> Outcome:
    if arrived or status == CONNECTED:
        return "got in"
    return "kept out" if status in (SILENT, REFUSED) else "unclear"


@contextmanager
def _network(client: APIClient, subnets: IPv4Network) -> Iterator[tuple[str, str, IPv4Address]]:
    """A network like a runner's: its id, its bridge, and the host's address in it."""
    made = _make_network(client, subnets)
    try:
        yield made
    finally:
        with contextlib.suppress(NotFound):
            client.remove_network(made[0])


def _make_network(client: APIClient, subnets: IPv4Network) -> tuple[str, str, IPv4Address]:
    """Raises ``_NoRoom``."""
    for subnet in _free(subnets, _taken(client)):
        name = f"{BRIDGE}{secrets.token_hex(3)}"
        try:
            made = client.create_network(
                f"open-persona-doctor-{name}",
                driver="bridge",
                internal=True,
                check_duplicate=True,
                options={"com.docker.network.bridge.name": name},
                ipam={"Driver": "default", "Config": [{"Subnet": str(subnet), "Gateway": str(subnet[1])}]},
                labels={LABEL: str(int(time.time()))},
            )
        except APIError as error:
            if not any(word in str(error.explanation).lower() for word in TAKEN):
                raise
        else:
            return str(made["Id"]), name, subnet[1]
    raise _NoRoom


def _free(subnets: IPv4Network, taken: Iterable[IPv4Network]) -> Iterator[IPv4Network]:
    """Some free /28s, from the end of the range: runners get theirs from its beginning."""
    used, step = tuple(taken), 2 ** (32 - PREFIX)
    last = int(subnets.broadcast_address) + 1 - step
    found = 0
    for start in range(last, int(subnets.network_address) - 1, -step):
        one = IPv4Network((start, PREFIX))
        if not any(one.overlaps(other) for other in used):
            yield one
            found += 1
        if found == ATTEMPTS:
            return


def _taken(client: APIClient) -> Iterator[IPv4Network]:
    for network in client.networks():
        for config in (network.get("IPAM") or {}).get("Config") or []:
            if ":" not in str(config.get("Subnet", ":")):
                yield IPv4Network(config["Subnet"], strict=False)


def _arrived(listener: socket.socket) -> bool:
    try:
        connection, _ = listener.accept()
    except OSError:
        return False
    connection.close()
    return True


def _run(client: APIClient, image: str, network: str, script: str) -> int | None:
    """The status that the container's script tells; None where it tells none."""
    made = client.create_container_from_config(_body(image, network, script))
    try:
        client.start(made["Id"])
        with contextlib.suppress(requests.RequestException):
            client.wait(made["Id"], timeout=RUN_S)
        told: bytes = client.logs(made["Id"], stdout=True, stderr=False)
    finally:
        with contextlib.suppress(NotFound):
            client.remove_container(made["Id"], force=True, v=True)
    words = told.decode("utf-8", "replace").split()
    return int(words[1]) if words[:1] == ["tried"] and words[1:2] and words[1].isdigit() else None


def _body(image: str, network: str, script: str) -> dict[str, Any]:
    """As confined as a runner, and with less: no folder, no token, little memory."""
    return {
        "Image": image,
        "User": "1000:1000",
        "Entrypoint": ["bash", "-c"],
        "Cmd": [script],
        "Labels": {LABEL: str(int(time.time()))},
        "HostConfig": {
            "NetworkMode": network,
            "Init": True,
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": 32,
            "Memory": 64 * 2**20,
            "MemorySwap": 64 * 2**20,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}},
        },
    }


def _remove_stale(client: APIClient) -> None:
    """What a doctor that was killed has left. One that works at this moment keeps its own."""
    for container in client.containers(all=True, filters={"label": LABEL}):
        if _is_stale(container):
            with contextlib.suppress(APIError):
                client.remove_container(container["Id"], force=True, v=True)
    for network in client.networks(filters={"label": LABEL}):
        if _is_stale(network):
            with contextlib.suppress(APIError):
                client.remove_network(network["Id"])


def _is_stale(found: dict[str, Any]) -> bool:
    made = str((found.get("Labels") or {}).get(LABEL, ""))
    return made.isdigit() and int(made) < time.time() - STALE_S
