"""What each running turn may reach through the gateway, in memory alone.

A lease is put in full at the turn's start and again at every renewal, expires :data:`EXPIRY_S` after the last put, and
ends the calls that it allowed when it goes. Its runner is known by the SHA-256 of its token, so a look-up compares
digests, never tokens.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import SecretStr, ValidationError

from hub.errors import BadLeaseError, TooManyLeasesError
from hub.manifest import SETTING_PATTERN
from hub.rates import Monotonic
from hub.wire import Lease

EXPIRY_S = 30.0
MAX_LEASES = 1000
MAX_BODY_BYTES = 256 * 1024

MAX_KNOWN = 10_000
"""Runners that are remembered as such after their last lease."""

_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,4096}")


class Call(Protocol):
    """A call in flight, as its lease sees it: ``end`` cancels it and returns at once."""

    integration: str
    tool: str

    def end(self) -> None: ...


@dataclass(frozen=True)
class Grant:
    """One integration of a lease."""

    tools: frozenset[str]
    settings: Mapping[str, SecretStr]


@dataclass(eq=False)
class HeldLease:
    """One lease as it stands; ``calls`` are those that it allowed and that still run. ``address``: see ``Lease``."""

    id: str
    runner: str
    user: str
    persona: str
    address: str = ""
    grants: Mapping[str, Grant] = field(default_factory=dict)
    expires_at: float = 0.0
    calls: set[Call] = field(default_factory=set)

    def allows(self, integration: str, tool: str) -> bool:
        grant = self.grants.get(integration)
        return grant is not None and tool in grant.tools


class Leases:
    """All leases of this hub. Used from the event loop alone; ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Monotonic = time.monotonic) -> None:
        self._clock = clock
        self._by_id: dict[str, HeldLease] = {}
        self._by_runner: dict[str, dict[str, HeldLease]] = {}
        self._known: dict[str, None] = {}
        self._deleted: dict[str, float] = {}
        """Ids and until when they stay deleted: a put that was on its way then brings none back."""

    def __len__(self) -> int:
        return len(self._by_id)

    def put(self, lease_id: str, lease: Lease) -> float:
        """Store or replace a lease; gives the seconds until it expires. Ends calls that it no longer allows.

        Raises:
            TooManyLeasesError.
            BadLeaseError: the lease was deleted a moment ago.
        """
        self.expire()
        if lease_id in self._deleted:
            raise BadLeaseError("id", "is that of a deleted lease")
        held = self._by_id.get(lease_id)
        if held is not None and held.runner != lease.runner:
            self._end(held)
            held = None
        if held is None:
            held = self._new(lease_id, lease)
        held.user, held.persona, held.address = lease.user, lease.persona, lease.address
        held.grants = {one.integration: Grant(frozenset(one.tools), one.settings) for one in lease.grants}
        held.expires_at = self._clock() + EXPIRY_S
        for call in [call for call in held.calls if not held.allows(call.integration, call.tool)]:
            call.end()
        return EXPIRY_S

    def delete(self, lease_id: str) -> None:
        """End a lease and its calls; an unknown one is gone already."""
        self._deleted[lease_id] = self._clock() + EXPIRY_S
        held = self._by_id.get(lease_id)
        if held is not None:
            self._end(held)

    def expire(self) -> None:
        """End every lease that nobody renewed in time."""
        now = self._clock()
        for lease_id in [one for one, until in self._deleted.items() if until <= now]:
            del self._deleted[lease_id]
        for held in [held for held in self._by_id.values() if held.expires_at <= now]:
            self._end(held)

    def of_runner(self, digest: str, address: str | None = None) -> list[HeldLease]:
        """The live leases of a runner, the newest first; with ``address`` those that may be used from there."""
        leases = self._by_runner.get(digest)
        if not leases:
            return []
        now, places = self._clock(), ("", address)
        live = [held for held in reversed(leases.values()) if held.expires_at > now]
        return live if address is None else [held for held in live if held.address in places]

    def knows_runner(self, digest: str) -> bool:
        """Whether a runner has, or had, a lease."""
        return digest in self._known

    def close(self) -> None:
        """End all of them."""
        for held in list(self._by_id.values()):
            self._end(held)

    def _new(self, lease_id: str, lease: Lease) -> HeldLease:
        if len(self._by_id) >= MAX_LEASES:
            raise TooManyLeasesError(MAX_LEASES)
        held = HeldLease(lease_id, lease.runner, lease.user, lease.persona)
        self._by_id[lease_id] = held
        self._known.pop(held.runner, None)
        self._known[held.runner] = None
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._by_runner.setdefault(held.runner, {})[lease_id] = held
        return held

    def _end(self, held: HeldLease) -> None:
        self._forget(held)
        for call in list(held.calls):
            call.end()

    def _forget(self, held: HeldLease) -> None:
        self._by_id.pop(held.id, None)
        leases = self._by_runner.get(held.runner, {})
        leases.pop(held.id, None)
        if not leases:
            self._by_runner.pop(held.runner, None)


def digest_of(token: str) -> str:
    """A token as leases name it: SHA-256, hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def read_lease(body: bytes) -> Lease:
    """A lease from the body of a PUT.

    Raises:
        BadLeaseError: names the first field at fault, and never a value.
    """
    try:
        lease = Lease.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise BadLeaseError(_field(first["loc"]), str(first["msg"]) if first["loc"] else "is not JSON") from None
    seen: set[str] = set()
    for number, grant in enumerate(lease.grants):
        if grant.integration in seen:
            raise BadLeaseError(f"grants.{number}.integration", "is the integration of an earlier grant")
        seen.add(grant.integration)
        _check_settings(f"grants.{number}.settings", grant.settings)
    return lease


def _check_settings(where: str, settings: Mapping[str, SecretStr]) -> None:
    for key, value in settings.items():
        if len(key) > 64 or not re.fullmatch(SETTING_PATTERN, key):
            raise BadLeaseError(where, "has a key that is no setting's name")
        if not _HEADER_VALUE.fullmatch(value.get_secret_value()):
            raise BadLeaseError(f"{where}.{key}", "has to be printable ASCII in one line, 4096 characters at most")


def _field(loc: tuple[int | str, ...]) -> str:
    """The path of a field by the model's own names: a key that the caller chose is left out."""
    shown: list[str] = []
    for part in loc:
        shown.append(str(part))
        if part == "settings":
            break
    return ".".join(shown) or "the body"
