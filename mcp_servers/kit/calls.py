"""What a call to an upstream is made of: who calls, what is read, within which bounds, and what comes back."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue, SecretStr

from mcp_servers.kit.results import Provenance

_SALT = secrets.token_bytes(32)

Check = Callable[[JsonValue], None]
"""Looks at a 200's JSON and raises an UpstreamError for a failure that the upstream tells in its body."""


@dataclass(frozen=True)
class Credential:
    """Who calls: request headers, and a digest that separates caches and rates. The headers are in no repr."""

    digest: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @staticmethod
    def basic(username: SecretStr, password: SecretStr) -> Credential:
        """HTTP Basic. The digest covers both parts, so a wrong password never finds the right one's answers."""
        pair = f"{username.get_secret_value()}:{password.get_secret_value()}"
        encoded = base64.b64encode(pair.encode()).decode()
        return Credential(_digest(f"basic {pair}"), {"Authorization": f"Basic {encoded}"})

    @staticmethod
    def header(name: str, value: SecretStr) -> Credential:
        """One header that carries a key, such as ``X-API-Key``."""
        return Credential(_digest(f"{name.lower()} {value.get_secret_value()}"), {name: value.get_secret_value()})


ANONYMOUS = Credential("anonymous")
"""The caller of a service that takes no key: all users share its cache and its rate."""


@dataclass(frozen=True)
class Request:
    """One read. ``path`` is appended to the base URL; ``json_body`` makes it a POST that changes nothing upstream."""

    path: str
    params: Mapping[str, str | int | bool] = field(default_factory=dict)
    json_body: JsonValue = None

    @property
    def method(self) -> str:
        return "GET" if self.json_body is None else "POST"

    def fingerprint(self) -> str:
        return json.dumps([self.method, self.path, dict(self.params), self.json_body], sort_keys=True)


@dataclass(frozen=True)
class Policy:
    """Bounds on calls to one upstream; times in seconds, rates per credential."""

    rate_per_s: float = 4.0
    burst: int = 4
    concurrency: int = 2
    deadline_s: float = 25.0
    attempt_timeout_s: float = 10.0
    attempts: int = 3
    backoff_base_s: float = 0.5
    backoff_max_s: float = 8.0
    max_response_bytes: int = 8 * 1024 * 1024
    stale_for_s: float = 24 * 3600.0


@dataclass(frozen=True)
class Fetched:
    """An answer's JSON and where it comes from. ``stale``: older than asked for, since the upstream failed."""

    value: JsonValue
    provenance: Provenance
    stale: bool = False


@dataclass(frozen=True)
class Download:
    """A file as it came. ``media_type`` is what was said of it, without parameters, in lower case."""

    content: bytes
    media_type: str
    provenance: Provenance


def _digest(secret: str) -> str:
    """Differs in each process, so that a digest in a dump tells nothing about a key."""
    return hmac.new(_SALT, secret.encode(), hashlib.sha256).hexdigest()[:32]
