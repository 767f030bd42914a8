"""What kind of network can be made: a user's own, internal, within the range; and what a connect may say."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spawner.errors import Refused
from spawner.network_body import joining, leaving, new_network
from spawner.settings import SpawnerSettings
from tests.spawner.bodies import network_body
from tests.spawner.hostile import NETWORKS, Change

POOL = IPv4Network("10.213.0.0/16")
SUBNETS = list(POOL.subnets(new_prefix=28))
NAMES = frozenset(map(str, SUBNETS))
SETTINGS = SpawnerSettings(data_dir=Path("/srv/open-persona"), runner_subnets=POOL)


@pytest.mark.requirement("spawner:network")
@pytest.mark.parametrize("more", [{}, {"EnableIPv6": False, "Attachable": False}], ids=["plain", "with what is off"])
def test_a_users_network_is_made_with_our_label_and_else_as_asked_for(more: dict[str, object]) -> None:
    plain = network_body()
    labels = {**plain["Labels"], "open-persona.spawner": SETTINGS.deployment}
    expected = {**plain, "Labels": labels, "EnableIPv6": False, "Attachable": False}
    assert new_network({**plain, **more}, SETTINGS).body == expected


@pytest.mark.requirement("spawner:network")
@pytest.mark.parametrize("change", NETWORKS.values(), ids=NETWORKS)
def test_a_hostile_network_is_refused(change: Change) -> None:
    body = network_body()
    change(body)
    with pytest.raises(Refused):
        new_network(body, SETTINGS)


@pytest.mark.requirement("spawner:network")
@settings(deadline=None)
@given(
    address=st.ip_addresses(v=4) | st.ip_addresses(network=POOL) | st.sampled_from([net[0] for net in SUBNETS]),
    prefix=st.just(28) | st.integers(0, 32),
)
def test_only_a_28_of_the_range_is_taken(address: object, prefix: int) -> None:
    text = f"{address}/{prefix}"
    inside = text in NAMES
    try:
        new_network(network_body(subnet=text), SETTINGS)
    except Refused:
        assert not inside
    else:
        assert inside


@pytest.mark.requirement("spawner:network")
@pytest.mark.parametrize("read", [joining, leaving])
@pytest.mark.parametrize(
    "raw",
    [
        {},
        [],
        {"Container": ""},
        {"Container": "../../images/x"},
        {"Container": "a/../b"},
        {"Container": "open-persona-sidecar?size=1"},
        {"Container": "open-persona-sidecar\n"},
        {"Container": 1},
        {"Container": "abc", "Ghost": True},
        {"Container": "abc", "Force": "yes"},
        {"Container": "abc", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.213.0.2"}}},
        {"Container": "abc", "EndpointConfig": {"Aliases": ["a", "b"]}},
        {"Container": "abc", "EndpointConfig": {"Links": ["x:y"]}},
        {"Container": "abc", "EndpointConfig": {"DriverOpts": {"x": "y"}}},
        {"Container": "abc", "EndpointConfig": None},
    ],
    ids=str,
)
def test_a_connect_and_a_disconnect_say_nothing_else(read: Callable[[object], object], raw: object) -> None:
    with pytest.raises(Refused):
        read(raw)
