"""The way out: names are resolved here, once for each connection, and the connection goes to the checked address."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from typing import Protocol

import httpcore

from mcp_servers.web.addresses import is_public

PORTS = frozenset({80, 443})

_SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class ForbiddenAddress(Exception):
    """The host is not, or not only, on the public internet."""


class UnknownHost(Exception):
    """The name has no address."""


class Internet(Protocol):
    """Names and connections: the seam at which tests put servers of their own behind public addresses."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """The addresses of ``host``, best first. Raises OSError for a name that has none."""
        ...

    async def connect(self, address: str, port: int, timeout: float | None) -> httpcore.AsyncNetworkStream:
        """A TCP connection. Raises an httpcore error."""
        ...


class SystemInternet:
    """The machine's own resolver and network."""

    def __init__(self) -> None:
        self._network = httpcore.AnyIOBackend()

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    async def connect(self, address: str, port: int, timeout: float | None) -> httpcore.AsyncNetworkStream:
        return await self._network.connect_tcp(address, port, timeout=timeout)


class PublicNetwork(httpcore.AsyncNetworkBackend):
    """Connects the HTTP client to public addresses and to nothing else, whatever a name resolves to.

    TLS still checks the certificate against the name, since only the connection is made by address.
    """

    def __init__(self, internet: Internet) -> None:
        self._internet = internet

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[_SocketOption] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Raises ForbiddenAddress, UnknownHost or an httpcore error."""
        failure: Exception = UnknownHost(host)
        for address in await self._public_addresses(host, port):
            try:
                return await self._internet.connect(address, port, timeout)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _public_addresses(self, host: str, port: int) -> Sequence[str]:
        if port not in PORTS:
            raise ForbiddenAddress(host)
        if _is_literal(host):
            addresses: Sequence[str] = [host]
        else:
            try:
                addresses = await self._internet.resolve(host, port)
            except (OSError, UnicodeError) as error:
                raise UnknownHost(host) from error
        # A name of the public internet has no private address beside its public ones.
        if not all(is_public(address) for address in addresses):
            raise ForbiddenAddress(host)
        return addresses


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
