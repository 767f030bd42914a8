"""The one HTTP client of a server process: bounded, patient, and strictly apart for each credential."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import httpx
from pydantic import JsonValue

from mcp_servers.kit.cache import CacheEntry, CacheKey, ResponseCache
from mcp_servers.kit.calls import ANONYMOUS, Check, Credential, Download, Fetched, Policy, Request
from mcp_servers.kit.clock import Clock, Deadline, SystemClock
from mcp_servers.kit.errors import (
    Code,
    InvalidCredentials,
    NotFound,
    PlanRequired,
    RateLimited,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from mcp_servers.kit.lanes import Lanes
from mcp_servers.kit.results import Provenance
from mcp_servers.kit.retry import backoff_s
from mcp_servers.kit.wire import Wire

__all__ = ["ANONYMOUS", "Check", "Credential", "Download", "Fetched", "Policy", "Request", "Upstream"]

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Upstream:
    """Reads JSON from one base URL. Make one per process and give it to ``create_app(closing=[…])``.

    ``title`` names the service in messages and as the ``source`` of answers; ``advice`` replaces the "What to do" of
    single error codes.
    """

    def __init__(
        self,
        base_url: str,
        *,
        title: str,
        policy: Policy | None = None,
        advice: Mapping[Code, str] | None = None,
        headers: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        cache: ResponseCache | None = None,
    ) -> None:
        self.title = title
        self.policy = policy or Policy()
        self.clock: Clock = clock or SystemClock()
        self._advice = advice or {}
        self._wire = Wire(
            base_url,
            title=title,
            policy=self.policy,
            advice=self._advice,
            headers=headers or {},
            clock=self.clock,
            transport=transport,
        )
        self._cache = ResponseCache() if cache is None else cache
        self._lanes = Lanes(
            rate=self.policy.rate_per_s, burst=self.policy.burst, concurrency=self.policy.concurrency, clock=self.clock
        )

    async def aclose(self) -> None:
        """Close the connections; a later fetch opens new ones."""
        await self._wire.aclose()

    def deadline(self) -> Deadline:
        """A deadline for one tool call that makes several reads; pass it to each of them."""
        return Deadline(self.clock, self.policy.deadline_s)

    async def fetch(
        self,
        request: Request,
        *,
        credential: Credential = ANONYMOUS,
        ttl_s: float = 0.0,
        deadline: Deadline | None = None,
        check: Check | None = None,
    ) -> Fetched:
        """The JSON of ``request``, from the cache where it is younger than ``ttl_s`` (0: always ask).

        429, 5xx, broken connections, timeouts and what ``check`` finds unavailable are tried again. If all fails, an
        older answer of the same credential is given with a notice (never with ``ttl_s=0``). Raises the
        CredentialError or UpstreamError of the last try; NotFound for 404.
        """
        key = CacheKey(credential.digest, request.fingerprint())
        entry = self._cache.get(key) if ttl_s > 0 else None
        if entry is not None and self._age(entry) <= ttl_s:
            return self._from_cache(entry)
        try:
            value, size = await self._read(request, credential, deadline or self.deadline(), check)
        except (InvalidCredentials, PlanRequired):
            self._cache.forget(credential.digest)
            raise
        except NotFound:
            raise
        except UpstreamError as error:
            if entry is None or self._age(entry) > self.policy.stale_for_s:
                raise
            logger.info("%s: stale answer served after %s", self.title, error.code)
            return self._from_cache(entry, stale=True)
        now = self.clock.now()
        if ttl_s > 0:
            self._cache.put(key, CacheEntry(value, self.clock.monotonic(), now, size))
        return Fetched(value, Provenance(self.title, now))

    async def download(
        self, request: Request, *, credential: Credential = ANONYMOUS, deadline: Deadline | None = None
    ) -> Download:
        """The file that ``request`` answers with, never from the cache. Tries again and raises as ``fetch`` does;
        AnswerTooBig for one over the policy's ``max_response_bytes``.
        """
        until = deadline or self.deadline()

        async def attempt() -> Download:
            async with self._lanes.slot(credential.digest, until):
                body, headers = await self._wire.receive(request, credential, until.remaining())
            media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
            return Download(body, media_type, Provenance(self.title, self.clock.now()))

        return await self._with_retries(request, until, attempt)

    def _age(self, entry: CacheEntry) -> float:
        return self.clock.monotonic() - entry.stored_at

    def _from_cache(self, entry: CacheEntry, *, stale: bool = False) -> Fetched:
        age = self._age(entry)
        notices: tuple[str, ...] = ()
        if stale:
            notices = (f"{self.title} did not answer just now. This was read {_ago(age)} and may be out of date.",)
        return Fetched(entry.value, Provenance(self.title, entry.retrieved_at, True, age, notices), stale)

    async def _read(
        self, request: Request, credential: Credential, deadline: Deadline, check: Check | None
    ) -> tuple[JsonValue, int]:
        async def attempt() -> tuple[JsonValue, int]:
            async with self._lanes.slot(credential.digest, deadline):
                value, size = await self._wire.exchange(request, credential, deadline.remaining())
            if check is not None:
                self._checked(check, value)
            return value, size

        return await self._with_retries(request, deadline, attempt)

    async def _with_retries(self, request: Request, deadline: Deadline, attempt: Callable[[], Awaitable[T]]) -> T:
        tries = 0
        while True:
            tries += 1
            try:
                return await attempt()
            except (RateLimited, UpstreamUnavailable, UpstreamTimeout) as error:
                wait = backoff_s(tries, base=self.policy.backoff_base_s, longest=self.policy.backoff_max_s)
                if isinstance(error, RateLimited) and error.retry_after_seconds is not None:
                    wait = max(wait, float(error.retry_after_seconds))
                logger.info("%s: try %d of %s failed: %s", self.title, tries, request.method, error.code)
                if tries >= self.policy.attempts or wait >= deadline.remaining():
                    raise
            await self.clock.sleep(wait)

    def _checked(self, check: Check, value: JsonValue) -> None:
        """A failure that the body tells gets the same advice as one that the status tells, unless it has its own."""
        try:
            check(value)
        except UpstreamError as error:
            if error.what_to_do == error.default_what_to_do:
                error.what_to_do = self._advice.get(error.code, error.what_to_do)
            raise


def _ago(seconds: float) -> str:
    minutes = int(seconds // 60)
    if minutes < 1:
        return "less than a minute ago"
    if minutes < 120:
        return f"{minutes} minute{'s' if minutes > 1 else ''} ago"
    return f"{minutes // 60} hours ago"
