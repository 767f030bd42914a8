"""Which subnet is next, and what a network is made of."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.runners.docker_networks import free_subnets, network_body, subnets_of

POOL = IPv4Network("10.213.0.0/24")


@st.composite
def taken_networks(draw: st.DrawFn) -> list[IPv4Network]:
    """Around and inside of the pool, of any size, overlapping each other as they like."""
    base = int(IPv4Network("10.212.255.0/24").network_address)
    sizes = draw(st.lists(st.tuples(st.integers(0, 3 * 256 - 1), st.integers(20, 32)), max_size=12))
    return [IPv4Network((base + offset, prefix), strict=False) for offset, prefix in sizes]


@pytest.mark.requirement("network:subnets")
@given(taken_networks())
def test_exactly_the_28s_that_overlap_nothing_are_free(taken: list[IPv4Network]) -> None:
    expected = [one for one in POOL.subnets(new_prefix=28) if not any(one.overlaps(net) for net in taken)]
    assert list(free_subnets(POOL, taken)) == expected


def test_a_large_pool_is_not_walked_through() -> None:
    taken = [IPv4Network("10.0.0.0/9"), IPv4Network("172.17.0.0/16")]
    assert next(free_subnets(IPv4Network("10.0.0.0/8"), taken)) == IPv4Network("10.128.0.0/28")


@pytest.mark.requirement("network:apart")
def test_a_network_is_internal_with_a_bridge_that_a_firewall_can_name() -> None:
    body = network_body("0123456789abcdef", "feedfeedfeed", IPv4Network("10.213.0.16/28"))
    assert body["internal"] is True
    assert body["options"] == {"com.docker.network.bridge.name": "oprun-012345678"}
    assert len("oprun-012345678") <= 15
    assert body["labels"] == {
        "open-persona.network": "1",
        "open-persona.workspace": "0123456789abcdef",
        "open-persona.instance": "feedfeedfeed",
    }


def test_networks_without_a_subnet_and_those_of_ipv6_take_nothing() -> None:
    configs = [{"Subnet": "10.1.0.0/16"}, {"Subnet": "fd00::/64"}, {}]
    assert subnets_of({"IPAM": {"Config": configs}}) == [IPv4Network("10.1.0.0/16")]
    assert subnets_of({"IPAM": {"Config": None}}) == subnets_of({}) == []
