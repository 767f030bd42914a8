"""Which addresses are public: the one list that decides what may be connected to.

An address is public only if it is in no special range; what is unknown is refused. The ranges are written out (IANA's
registries of special-purpose addresses), since Python's own notion of a global address changed between its versions.
"""

from __future__ import annotations

import ipaddress

_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carriers' NAT; Alibaba's metadata
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local; most clouds' metadata
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocols; Oracle's metadata
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
            "168.63.129.16/32",  # Azure's host, by an address that is public in form
        ),
    )
)
_V6_GLOBAL = ipaddress.IPv6Network("2000::/3")
"""All that is assigned to the public internet lies in here."""
_V6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocols: Teredo, ORCHID, benchmarks
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "3fff::/20",  # documentation
        ),
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def is_public(address: str) -> bool:
    """Whether ``address`` (a literal) belongs to the public internet. False for what is no address.

    An IPv4 address inside an IPv6 one (mapped, NAT64) counts as itself; in 6to4 and Teredo it never counts.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed in _NAT64 or parsed in _MAPPED:
            parsed = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        else:
            return parsed.scope_id is None and parsed in _V6_GLOBAL and not any(parsed in part for part in _V6)
    return not any(parsed in part for part in _V4)
