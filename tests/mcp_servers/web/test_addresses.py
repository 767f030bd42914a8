from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_servers.web.addresses import is_public

V4_SPECIAL = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.0.1", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
    "198.19.255.255", "198.51.100.1", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "168.63.129.16",
]  # fmt: skip


@pytest.mark.requirement("web:public-addresses")
@pytest.mark.parametrize(
    "address",
    [
        *V4_SPECIAL,
        *(f"::ffff:{address}" for address in V4_SPECIAL),
        *(f"64:ff9b::{address}" for address in V4_SPECIAL),
        "2002:0a00:0001::1",
        "2002:5db8:d822::1",
        "2001:0:5db8:d822::1",
        "64:ff9b:1::1",
        "::",
        "::1",
        "::5db8:d822",
        "fe80::1",
        "fe80::1%eth0",
        "2606:4700::1%eth0",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "100::1",
        "2001:db8::1",
        "2001:2::1",
        "3fff::1",
        "5f00::1",
        "4000::1",
        "localhost",
        "127.1",
        "0x7f000001",
        "2130706433",
        "",
    ],
)
def test_special_and_malformed_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["93.184.216.34", "8.8.8.8", "172.32.0.1", "100.128.0.1", "192.0.1.1", "198.20.0.1", "223.255.255.255",
     "2606:4700::1111", "2a00:1450::1", "2001:4860::1", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"],
)  # fmt: skip
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses())
def test_nothing_that_python_calls_special_is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    special = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
    if (special or address.is_reserved) and not str(address).startswith("64:ff9b::"):
        assert not is_public(str(address)) or getattr(address, "ipv4_mapped", None)
