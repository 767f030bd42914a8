"""What a runner may ask of the sidecar: the broker, and nothing else.

A runner is whoever calls from a runner's network, or bears a runner's token. Any other route is answered to it as a
route that does not exist, with one line in the log. Whose token it is does not matter, nor whether a turn runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger(__name__)
DOOR = "llm"

IsRunner = Callable[[str], bool]
"""Whether a text is the token of a runner of this sidecar."""


class RunnerSeam:
    """ASGI middleware; ``is_runner`` is asked for the credential of every request that is not at the door."""

    def __init__(self, app: ASGIApp, is_runner: Callable[[Scope], IsRunner], subnets: IPv4Network) -> None:
        self._app = app
        self._is_runner = is_runner
        self._subnets = subnets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not at_door(scope["path"]) and self._from_runner(scope):
            log.warning("runner call refused: route; method=%s", scope["method"])
            await JSONResponse({"detail": "Not Found"}, status_code=404)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _from_runner(self, scope: Scope) -> bool:
        if lies_in(self._subnets, scope.get("client")):
            return True
        tokens = _credentials(Headers(scope=scope))
        return bool(tokens) and any(map(self._is_runner(scope), tokens))


def at_door(path: str) -> bool:
    """Whether ``path`` is ``/llm/<provider>/…``, with no part that another reader could take for a way out."""
    first, *parts = path.split("/")
    return not first and parts[:1] == [DOOR] and len(parts) > 2 and not {"", ".", ".."} & set(parts)


def lies_in(subnets: IPv4Network, client: tuple[str, int] | None) -> bool:
    """Whether the peer of a connection is in a runner's network."""
    address = peer_address(client)
    return address is not None and address in subnets


def peer_address(client: tuple[str, int] | None) -> IPv4Address | IPv6Address | None:
    """The address of a connection's peer; IPv4 where a socket of both families shows it as IPv6."""
    try:
        address = ip_address(client[0]) if client else None
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def home_of(url: str, subnets: IPv4Network) -> str:
    """The address from which the runner at ``url`` calls, where it has one of its own; else empty."""
    host = urlsplit(url).hostname or ""
    return host if lies_in(subnets, (host, 0)) else ""


def _credentials(headers: Headers) -> list[str]:
    """Every text in which a token could be sent."""
    bearer = [value.partition(" ")[2].strip() for value in headers.getlist("authorization")]
    return [token for token in (*bearer, *headers.getlist("x-api-key")) if token]
