"""Which network addresses the hub connects to for an integration.

A manifest's ``url`` is the operator's, but what its name resolves to is the business of a stranger's DNS. Private and
loopback addresses are allowed, since operators front servers of their own network; link-local ones (where clouds serve
credentials), the clouds' other metadata addresses, multicast and unspecified ones are not. The check sits where the
name is resolved, and the connection goes to the checked address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

from hub.errors import ForbiddenAddressError
from hub.manifest import HttpTransport, Manifest

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA = frozenset(
    map(ipaddress.ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"))
)
"""Metadata services that are not link-local: AWS and Google over IPv6, Alibaba, Oracle, Azure."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def forbidden(address: str) -> bool:
    """Whether ``address`` (a literal, IPv6 with or without a zone) is one that the hub must not connect to."""
    parsed = _inner(ipaddress.ip_address(address.partition("%")[0]))
    if parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified or parsed in METADATA:
        return True
    return isinstance(parsed, ipaddress.IPv4Address) and parsed.is_reserved


def check_literal(manifest: Manifest) -> None:
    """Refuse an ``http`` integration whose URL names a forbidden address itself: no name is resolved for it.

    Raises:
        ForbiddenAddressError.
    """
    if not isinstance(manifest.transport, HttpTransport):
        return
    host = urlsplit(str(manifest.transport.url)).hostname or ""
    if _is_literal(host) and forbidden(host):
        raise ForbiddenAddressError(host)


async def connectable(host: str, port: int) -> list[str]:
    """The addresses of ``host`` that may be connected to, in the resolver's order.

    Raises:
        ForbiddenAddressError: there are only others.
        socket.gaierror: the name is not known.
    """
    if _is_literal(host):
        return [host]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    allowed = [str(entry[4][0]) for entry in found if not forbidden(str(entry[4][0]))]
    if not allowed:
        raise ForbiddenAddressError(host)
    return allowed


class GuardedResolver(AbstractResolver):
    """Resolves names for the HTTP client and leaves out the forbidden addresses."""

    def __init__(self, inner: AbstractResolver | None = None) -> None:
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises ForbiddenAddressError (an OSError, as the client expects) when no allowed address is left."""
        allowed = [one for one in await self._inner.resolve(host, port, family) if not forbidden(one["host"])]
        if not allowed:
            raise ForbiddenAddressError(host)
        return allowed

    async def close(self) -> None:
        await self._inner.close()


def _inner(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
