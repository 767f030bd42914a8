"""A user's own network: internal, with an explicit /28, its bridge named so that a firewall can tell it.

Sidecar and hub are its members where they are containers; else a runner reaches them at its gateway, the host.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from docker import APIClient

from sidecar.errors import RunnerError
from sidecar.identity import instance_id
from sidecar.locks import KeyedLocks
from sidecar.runners.container_spec import INSTANCE, NETWORK, WORKSPACE, network_name
from sidecar.runners.docker_engine import Engine, EngineError
from sidecar.settings import HUB_ALIAS, SIDECAR_ALIAS, Settings

log = logging.getLogger(__name__)
PREFIX: Final = 28
ATTEMPTS: Final = 50
OVERLAPS: Final = ("overlaps", "in use", "conflict")


@dataclass(frozen=True)
class UserNetwork:
    """``gateway`` is the host, as its members see it. ``members`` are the names of those that run.

    ``fits``: internal, and inside of the present ``OPEN_PERSONA_RUNNER_SUBNETS``.
    """

    id: str
    name: str
    gateway: IPv4Address
    members: frozenset[str]
    fits: bool


def free_subnets(pool: IPv4Network, taken: Iterable[IPv4Network]) -> Iterator[IPv4Network]:
    """The /28s of ``pool`` that overlap nothing in ``taken``, lowest first."""
    near = sorted((net for net in taken if net.overlaps(pool)), key=lambda net: int(net.network_address))
    step = 2 ** (32 - PREFIX)
    at, end, index = int(pool.network_address), int(pool.broadcast_address), 0
    while at + step - 1 <= end:
        while index < len(near) and int(near[index].broadcast_address) < at:
            index += 1
        if index < len(near) and int(near[index].network_address) < at + step:
            at = (int(near[index].broadcast_address) // step + 1) * step
            continue
        yield IPv4Network((at, PREFIX))
        at += step


def subnets_of(network: Mapping[str, Any]) -> list[IPv4Network]:
    """The IPv4 subnets of a network as Docker describes it."""
    configs = (network.get("IPAM") or {}).get("Config") or []
    return [IPv4Network(c["Subnet"], strict=False) for c in configs if ":" not in c.get("Subnet", ":")]


def network_body(workspace: str, instance: str, subnet: IPv4Network) -> dict[str, Any]:
    """The arguments of the SDK's ``create_network``, which sends them as they are."""
    return {
        "name": network_name(workspace),
        "driver": "bridge",
        "internal": True,
        "check_duplicate": True,
        "options": {"com.docker.network.bridge.name": f"oprun-{workspace[:9]}"},
        "ipam": {"Driver": "default", "Config": [{"Subnet": str(subnet)}]},
        "labels": {NETWORK: "1", WORKSPACE: workspace, INSTANCE: instance},
    }


class UserNetworks:
    """Makes, mends and removes them; one at a time for each user."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._pool = settings.runner_subnets
        self._services = dict(zip(settings.runner_services, (SIDECAR_ALIAS, HUB_ALIAS), strict=False))
        self._instance = instance_id(settings.token_key)
        self._locks = KeyedLocks()
        self._held: Counter[str] = Counter()

    @property
    def on_host(self) -> bool:
        """Whether sidecar and hub run on the host, not in containers."""
        return not self._services

    async def ensure(self, workspace: str) -> UserNetwork:
        """The user's network with its members, made if it is not there. Raises ``RunnerError``."""
        async with self._locks.of(workspace):
            network = await self._find(workspace)
            if network is not None and not network.fits:
                await self._remove(network)
                network = None
            network = network or await self._create(workspace)
            await self._connect_services(network)
            return network

    async def mend(self, workspace: str) -> None:
        """Connects the members again that are not in it any more. Asks nothing where there are none."""
        if not self.on_host:
            await self.ensure(workspace)

    async def gateways(self) -> dict[str, IPv4Address]:
        """The host's address by workspace, of every network of this deployment that fits."""
        found = [network for network in await self._list() if self._fits(network)]
        return {str(network["Labels"].get(WORKSPACE)): _gateway(network) for network in found}

    async def remove_unused(self, workspace: str) -> None:
        """Removes the user's network unless a container that is no service of ours is in it."""
        async with self._locks.of(workspace):
            network = await self._find(workspace)
            if network is not None and not self._held[workspace] and not self._strangers(network):
                await self._remove(network)

    @contextmanager
    def held(self, workspace: str) -> Iterator[None]:
        """Keeps the user's network from being removed, though no container is in it yet."""
        self._held[workspace] += 1
        try:
            yield
        finally:
            self._held[workspace] -= 1
            if not self._held[workspace]:
                del self._held[workspace]

    def _strangers(self, network: UserNetwork) -> set[str]:
        return set(network.members - set(self._services))

    async def _remove(self, network: UserNetwork) -> None:
        if strangers := self._strangers(network):
            raise RunnerError(
                "Your workspace is being moved to another network. Send the message again in a minute.",
                detail=f"network {network.name} was made for other settings and still holds {sorted(strangers)}",
            )
        for name in self._services:
            await self._disconnect(network, name)
        try:
            await self._engine.call("remove network", lambda docker: docker.remove_network(network.id))
        except EngineError as error:
            if not error.gone:
                raise

    async def workspaces(self) -> set[str]:
        """Whose networks of this deployment there are."""
        return {str((network.get("Labels") or {}).get(WORKSPACE, "")) for network in await self._list()}

    async def _list(self) -> list[dict[str, Any]]:
        filters = {"label": [f"{NETWORK}=1", f"{INSTANCE}={self._instance}"]}
        return list(await self._engine.call("list networks", lambda docker: docker.networks(filters=filters)))

    async def _find(self, workspace: str) -> UserNetwork | None:
        name = network_name(workspace)
        try:
            found = await self._engine.call("inspect network", lambda docker: docker.inspect_network(name))
        except EngineError as error:
            if error.gone:
                return None
            raise
        if (found.get("Labels") or {}).get(INSTANCE) != self._instance:
            raise RunnerError(
                "Your workspace can't be started: its network's name is taken. "
                f"Its operator has to look at the Docker network '{name}'.",
                detail=f"network {name} is not of this deployment ({self._instance}); remove it with "
                f"'docker network rm {name}' if nothing uses it",
            )
        members = frozenset(str(one.get("Name", "")) for one in (found.get("Containers") or {}).values())
        return UserNetwork(str(found["Id"]), name, _gateway(found), members, self._fits(found))

    def _fits(self, network: Mapping[str, Any]) -> bool:
        subnets = subnets_of(network)
        return bool(network.get("Internal") and subnets and all(one.subnet_of(self._pool) for one in subnets))

    async def _create(self, workspace: str) -> UserNetwork:
        listed = await self._engine.call("list networks", lambda docker: docker.networks())
        taken = [subnet for network in listed for subnet in subnets_of(network)]
        refusal = "every /28 of OPEN_PERSONA_RUNNER_SUBNETS is in use"
        for _, subnet in zip(range(ATTEMPTS), free_subnets(self._pool, taken), strict=False):
            body = network_body(workspace, self._instance, subnet)
            try:
                await self._engine.call("create network", partial(_create, body))
            except EngineError as error:
                refusal = error.detail
                if not error.conflicts and not any(word in error.detail.lower() for word in OVERLAPS):
                    raise
            # Whoever else made it in this moment has made what is needed.
            if (network := await self._find(workspace)) is not None:
                return network
        raise RunnerError(
            "No network is free for your workspace. Its operator has to give OPEN_PERSONA_RUNNER_SUBNETS more room, "
            "or a range that nothing else uses.",
            detail=f"network {network_name(workspace)} in {self._pool}: {refusal}",
        )

    async def _connect_services(self, network: UserNetwork) -> None:
        for name, alias in self._services.items():
            if name not in network.members:
                await self._connect(network, name, alias)

    async def _connect(self, network: UserNetwork, name: str, alias: str) -> None:
        try:
            await self._engine.call(
                f"connect {name}",
                lambda docker: docker.connect_container_to_network(name, network.id, aliases=[alias]),
            )
        except EngineError as error:
            if "already exists in network" not in error.detail:
                raise
        else:
            log.info("%s is connected to %s", name, network.name)

    async def _disconnect(self, network: UserNetwork, name: str) -> None:
        """One that is stopped is not listed as a member, and still would keep its place."""
        try:
            await self._engine.call(
                f"disconnect {name}",
                lambda docker: docker.disconnect_container_from_network(name, network.id, force=True),
            )
        except EngineError as error:
            if not error.gone and "is not connected" not in error.detail:
                raise


def _create(body: Mapping[str, Any], docker: APIClient) -> None:
    docker.create_network(**body)


def _gateway(network: Mapping[str, Any]) -> IPv4Address:
    """Docker gives the bridge a subnet's first address unless told otherwise, and does not always say so."""
    config = network["IPAM"]["Config"][0]
    given = str(config.get("Gateway") or "").split("/")[0]
    return IPv4Address(given) if given else IPv4Network(config["Subnet"]).network_address + 1
