"""Which addresses the hub connects to, by their literals and by what names resolve to."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from hub.addresses import GuardedResolver, check_literal, connectable, forbidden
from hub.errors import ForbiddenAddressError
from hub.probe import Prober, Target, target_of
from tests.fakes.asgi_server import serve_app
from tests.hub.servers import good_app, manifest_at


@pytest.mark.requirement("ssrf:addresses")
@pytest.mark.parametrize(
    ("address", "refused"),
    [
        ("127.0.0.1", False), ("::1", False), ("10.1.2.3", False), ("192.168.1.1", False), ("172.16.0.1", False),
        ("fd12::1", False), ("8.8.8.8", False), ("2606:4700::1", False), ("100.64.0.1", False),
        ("169.254.169.254", True), ("169.254.0.1", True), ("fe80::1", True), ("fe80::1%eth0", True),
        ("fd00:ec2::254", True), ("100.100.100.200", True), ("192.0.0.192", True), ("168.63.129.16", True),
        ("0.0.0.0", True), ("::", True), ("224.0.0.1", True), ("ff02::1", True), ("255.255.255.255", True),
        ("240.0.0.1", True), ("::ffff:169.254.169.254", True), ("64:ff9b::a9fe:a9fe", True),
        ("2002:a9fe:a9fe::1", True),
    ],
)  # fmt: skip
def test_private_networks_are_allowed_and_metadata_is_not(address: str, refused: bool) -> None:
    assert forbidden(address) is refused


class Names(AbstractResolver):
    """A DNS of the test's."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=one, port=port, family=socket.AF_INET, proto=0, flags=0)
            for one in self._addresses
        ]

    async def close(self) -> None:
        pass


@pytest.mark.requirement("ssrf:addresses")
async def test_the_client_connects_only_to_what_is_allowed() -> None:
    async with serve_app(good_app(hosts=["name.test:*"])) as url:
        port = url.rsplit(":", 1)[1]
        for addresses, refused in ((("169.254.169.254", "127.0.0.1"), False), (("169.254.169.254",), True)):
            connector = aiohttp.TCPConnector(resolver=GuardedResolver(Names(*addresses)))
            async with aiohttp.ClientSession(connector=connector) as client:
                asking = client.get(f"http://name.test:{port}/healthz")
                if refused:
                    with pytest.raises(aiohttp.ClientConnectorError):
                        await asking
                else:
                    async with asking as answer:
                        assert answer.status == 200


@pytest.mark.requirement("ssrf:probe")
@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "0.0.0.0", "[::ffff:169.254.169.254]"])
async def test_a_probe_of_a_forbidden_address_connects_to_nothing(prober: Prober, host: str) -> None:
    manifest = manifest_at(f"http://{host}:80")
    with pytest.raises(ForbiddenAddressError):
        check_literal(manifest)
    seen = await asyncio.wait_for(prober.probe(target_of(manifest, "127.0.0.1")), 2)
    assert (seen.result.reason, seen.result.stage) == ("address_refused", "tcp")
    assert "transport.url" in seen.result.action or "connect to" in seen.result.action


@pytest.mark.requirement("ssrf:probe")
async def test_a_name_of_a_forbidden_address_is_refused(prober: Prober, monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(ForbiddenAddressError):
        await connectable("metadata.test", 80)
    target = Target(manifest_at("http://metadata.test:80"), "http://metadata.test:80/mcp", None)
    assert (await prober.probe(target)).result.reason == "address_refused"
