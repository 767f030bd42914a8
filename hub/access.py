"""Who may ask what: the names this hub answers to, the service key, and the origin of a page's requests.

The ``Host`` is checked on every route but the hub's own health, because a page elsewhere can point a DNS name of
its own at a loopback address. Routes that change state need the key as a bearer token, which a browser never adds
by itself; the status page and what it shows also take it as the password of basic authentication. A caller from a
runner's network is told by its address, whatever it sends.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.datastructures import Headers

from hub.errors import KeyRequiredError, WrongHostError, WrongOriginError
from hub.settings import HubSettings

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
NAME_FOR_RUNNERS = "open-persona-hub"
"""Under which a runner in a container calls the hub."""


class Access:
    """The checks of one hub; each passes silently or raises a ``RequestError``."""

    def __init__(self, settings: HubSettings) -> None:
        self._key = settings.service_key
        self._open_pages = settings.loopback_only
        bound = {settings.hub_host} - {"0.0.0.0", "::", ""}  # noqa: S104
        names = LOOPBACK_NAMES | bound | settings.hub_allowed_hosts | {NAME_FOR_RUNNERS}
        self._hosts = {name.lower() for name in names}
        self._runner_subnets = settings.runner_subnets

    def calls_from_runner(self, client: tuple[str, int] | None) -> bool:
        """Whether the peer of a connection is in a runner's network."""
        address = peer_address(client)
        return address is not None and address in self._runner_subnets

    def check_host(self, headers: Headers) -> None:
        """The ``Host`` is a loopback name, the bound one, that of runners or an allowed one (maybe with a port)."""
        host = headers.get("host", "").lower()
        if host in self._hosts or _without_port(host) in self._hosts:
            return
        raise WrongHostError(host)

    def check_door(self, headers: Headers) -> None:
        """A request to the gateway: a known ``Host``, and from a page only of this origin or of this machine."""
        self.check_host(headers)
        origin = headers.get("origin")
        if origin is None or _same_origin(origin, headers.get("host", "")):
            return
        if _hostname(origin) not in LOOPBACK_NAMES:
            raise WrongOriginError()

    def check_change(self, headers: Headers) -> None:
        """A request that changes state: the service key, and from a page only of this origin."""
        origin = headers.get("origin")
        if origin is not None and not _same_origin(origin, headers.get("host", "")):
            raise WrongOriginError()
        if not matches(self._key, bearer(headers)):
            raise KeyRequiredError()

    def check_page(self, headers: Headers) -> None:
        """What the page shows: open on loopback, else the key, as bearer or as basic authentication's password."""
        if self._open_pages or matches(self._key, bearer(headers)) or matches(self._key, _basic_password(headers)):
            return
        raise KeyRequiredError()


def peer_address(client: tuple[str, int] | None) -> IPv4Address | IPv6Address | None:
    """The address of a connection's peer; IPv4 where a socket of both families shows it as IPv6."""
    try:
        address = ip_address(client[0]) if client else None
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def matches(key: SecretStr, given: str) -> bool:
    """Compare in constant time; no key set means that none is right."""
    expected = key.get_secret_value().encode()
    return bool(expected) and hmac.compare_digest(expected, given.encode())


def bearer(headers: Headers) -> str:
    """The token of ``Authorization: Bearer …``, empty without one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def credentials(headers: Headers) -> list[str]:
    """Every text in which a token could be sent, whatever the scheme."""
    sent = [value.partition(" ")[2].strip() for value in headers.getlist("authorization")]
    return [token for token in (*sent, _basic_password(headers), *headers.getlist("x-api-key")) if token]


def _basic_password(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(token, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _without_port(host: str) -> str:
    return _hostname(f"//{host}")


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _same_origin(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(host) and parts.netloc.lower() == host.lower()
