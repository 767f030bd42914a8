"""The one kind of network that can be made, a user's own internal one, and who may be put into it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from spawner import names
from spawner.errors import Refused
from spawner.settings import CONTAINER_NAME, SpawnerSettings
from spawner.strict_json import read_as

PREFIX: Final = 28
BRIDGE_NAME: Final = "com.docker.network.bridge.name"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Subnet(_Strict):
    Subnet: str


class Addresses(_Strict):
    Driver: Literal["default"]
    Config: Annotated[list[Subnet], Field(min_length=1, max_length=1)]


class NetworkBody(_Strict):
    Name: str
    Driver: Literal["bridge"]
    Internal: Literal[True]
    CheckDuplicate: Literal[True]
    Options: dict[str, str]
    IPAM: Addresses
    Labels: dict[str, str]
    EnableIPv6: Literal[False] = False
    Attachable: Literal[False] = False


class Endpoint(_Strict):
    Aliases: Annotated[list[str], Field(max_length=1)] = []


class Joining(_Strict):
    """The body of a connect."""

    Container: str
    EndpointConfig: Endpoint = Endpoint()


class Leaving(_Strict):
    """The body of a disconnect."""

    Container: str
    Force: bool = False


@dataclass(frozen=True)
class NewNetwork:
    """A checked network: ``body`` is what Docker gets."""

    name: str
    body: Mapping[str, object]


def new_network(raw: object, settings: SpawnerSettings) -> NewNetwork:
    """The network that ``raw`` describes, with our label. Raises ``Refused`` that names the first wrong field."""
    body = read_as(NetworkBody, raw)
    workspace = names.network_workspace(body.Name)
    if workspace is None:
        raise Refused("Name must be a user's network, open-persona-net-<16 hex>.")
    for fault in _faults(body, workspace, settings):
        raise Refused(fault)
    labels = {**body.Labels, names.SPAWNER: settings.deployment}
    return NewNetwork(body.Name, {**body.model_dump(), "Labels": labels})


def joining(raw: object) -> Joining:
    body = read_as(Joining, raw)
    _check_container(body.Container)
    return body


def leaving(raw: object) -> Leaving:
    body = read_as(Leaving, raw)
    _check_container(body.Container)
    return body


def _check_container(container: str) -> None:
    """What goes into the path of the inspect call."""
    if not CONTAINER_NAME.fullmatch(container):
        raise Refused("Container must be the name or the id of a container.")


def _faults(body: NetworkBody, workspace: str, settings: SpawnerSettings) -> Iterator[str]:
    if body.Options != {BRIDGE_NAME: names.bridge_name(workspace)}:
        yield f"Options must be {BRIDGE_NAME} alone, with oprun- and the first 9 digits of the workspace."
    patterns = {names.NETWORK: "1", names.WORKSPACE: workspace, names.INSTANCE: "[0-9a-f]{12}"}
    if set(body.Labels) != set(patterns):
        yield "Labels must be exactly " + ", ".join(patterns) + "."
    elif not all(re.fullmatch(pattern, body.Labels[key]) for key, pattern in patterns.items()):
        yield "Labels must agree with the network's name, and be hex digits."
    if not _is_in(body.IPAM.Config[0].Subnet, settings.runner_subnets):
        yield f"IPAM.Config must be one /{PREFIX} of {settings.runner_subnets}."


def _is_in(text: str, pool: IPv4Network) -> bool:
    try:
        subnet = IPv4Network(text)
    except (AddressValueError, NetmaskValueError, ValueError):
        return False
    return str(subnet) == text and subnet.prefixlen == PREFIX and subnet.subnet_of(pool)
