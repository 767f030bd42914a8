"""Instrumentl's REST API, as one caller sees it during one tool call.

Shapes as in the public client ``dcoll12/GrantSearch``: HTTP Basic with the key id and the private key, GET only,
``{"<name>": [...], "meta": {"has_more": bool, "cursor": str}}`` for listings, 402 for an account without API access.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pydantic import JsonValue

from mcp_servers.instrumentl import records
from mcp_servers.instrumentl.records import Grant, Project, SavedGrant
from mcp_servers.kit.errors import (
    AccessForbidden,
    Code,
    NotFound,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from mcp_servers.kit.results import Provenance
from mcp_servers.kit.upstream import Credential, Fetched, Policy, Request, Upstream

logger = logging.getLogger(__name__)

TITLE = "Instrumentl"
DEFAULT_BASE_URL = "https://api.instrumentl.com"

# Under the manifest's 25 s, so that the answer is ours and not the gateway's.
POLICY = Policy(rate_per_s=4, burst=4, concurrency=2, deadline_s=22, attempt_timeout_s=8)
ADVICE: Mapping[Code, str] = {
    "invalid_credentials": (
        "In Open WebUI, open the settings of the tool “Open Persona: Instrumentl” and enter the API key ID and the API "
        "private key again, from Instrumentl under Integrations > API."
    ),
    "plan_required": (
        "Instrumentl's API comes with some plans only (Full Lifecycle, Enterprise, University). Ask the account's "
        "owner or api@instrumentl.com. Federal grants can be searched without a key."
    ),
    "forbidden": "Use an API key of the account that owns this, or ask its owner for access.",
}

PAGE_SIZE = 50
MAX_PAGES = 40
MAX_SINGLE_READS = 25
LIST_TTL_S = 300.0
GRANT_TTL_S = 900.0

OnPage = Callable[[int, str], Awaitable[None]]
"""Told after each page how many rows of what have been read so far."""

T = TypeVar("T", Project, SavedGrant, Grant)


@dataclass(frozen=True)
class Listing(Generic[T]):
    """All rows of one listing, each id once. ``notices`` say if it is not complete."""

    rows: list[T]
    provenance: Provenance
    notices: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class GrantReads:
    """Grants that were read one by one; ``unresolved`` has the reason for each id that was not."""

    grants: dict[str, Grant]
    unresolved: dict[str, str]
    provenance: Provenance


async def _silent(_: int, __: str) -> None:
    return None


class Account:
    """What one credential can read. All reads share one deadline."""

    def __init__(self, upstream: Upstream, credential: Credential, on_page: OnPage = _silent) -> None:
        self._upstream = upstream
        self._credential = credential
        self._on_page = on_page
        self._deadline = upstream.deadline()

    async def organization(self) -> Fetched:
        """The account itself, never from the cache: this is the check of the key."""
        return await self._get("v1/accounts/current", ttl_s=0, key=None)

    async def projects(self) -> Listing[Project]:
        return await self._crawl("v1/projects", "projects", {}, records.project, LIST_TTL_S)

    async def saved_grants(self, project_id: str | None = None) -> Listing[SavedGrant]:
        def read(row: JsonValue) -> SavedGrant | None:
            return records.saved_grant(row, asked_project=project_id)

        params = {} if project_id is None else {"project_id": project_id}
        listing = await self._crawl("v1/saved_grants", "saved_grants", params, read, LIST_TTL_S)
        rows = [row for row in listing.rows if project_id in {None, row.project_id}]
        return Listing(rows, listing.provenance, listing.notices)

    async def grants(self, *, saved_only: bool = False, funder_id: str | None = None) -> Listing[Grant]:
        """The grants that Instrumentl offers to the account: its matches and what it saved."""
        params = {"is_saved": "true"} if saved_only else {}
        if funder_id is not None:
            params["funder_id"] = funder_id
        return await self._crawl("v1/grants", "grants", params, records.grant, GRANT_TTL_S)

    async def grants_by_id(self, ids: Iterable[str]) -> GrantReads:
        """Read each grant by itself, at most ``MAX_SINGLE_READS``; more are unresolved.

        A grant that is not there or not allowed is unresolved. Raises if the key is no good, and, where not a single
        grant could be read, the upstream's failure.
        """
        wanted = list(dict.fromkeys(ids))
        reads = [self._get(f"v1/grants/{key}", ttl_s=GRANT_TTL_S, key=None) for key in wanted[:MAX_SINGLE_READS]]
        outcomes = await asyncio.gather(*reads, return_exceptions=True)
        grants: dict[str, Grant] = {}
        unresolved = dict.fromkeys(wanted[MAX_SINGLE_READS:], "not_read: ask for fewer at a time")
        parts: list[Provenance] = []
        failure: UpstreamError | None = None
        for key, outcome in zip(wanted, outcomes, strict=False):
            if isinstance(outcome, Fetched):
                parts.append(outcome.provenance)
                if (grant := records.grant(outcome.value)) is not None:
                    grants[key] = grant
                else:
                    unresolved[key] = "not_found"
            elif isinstance(outcome, NotFound | AccessForbidden):
                unresolved[key] = outcome.code
            elif isinstance(outcome, UpstreamError):
                unresolved[key], failure = f"{outcome.code}: try this one again", outcome
            else:
                raise outcome
        if failure is not None and not grants:
            raise failure
        return GrantReads(grants, unresolved, Provenance.merge(TITLE, parts, self._upstream.clock.now()))

    async def _get(
        self, path: str, *, ttl_s: float, key: str | None, params: Mapping[str, str | int] | None = None
    ) -> Fetched:
        def check(value: JsonValue) -> None:
            if not isinstance(value, dict) or (key is not None and not isinstance(value.get(key), list)):
                raise UpstreamUnavailable(f"{TITLE} answered in a shape that is not known.")

        return await self._upstream.fetch(
            Request(path, params or {}), credential=self._credential, ttl_s=ttl_s, deadline=self._deadline, check=check
        )

    async def _crawl(
        self, path: str, key: str, params: Mapping[str, str], read: Callable[[JsonValue], T | None], ttl_s: float
    ) -> Listing[T]:
        """Follow the cursors. Pages can repeat rows or the cursor itself: ids count once, a known cursor is the end."""
        rows: dict[str, T] = {}
        parts: list[Provenance] = []
        seen: set[str] = set()
        cursor: str | None = None
        while True:
            query: dict[str, str | int] = {
                **params,
                "page_size": PAGE_SIZE,
                **({} if cursor is None else {"cursor": cursor}),
            }
            try:
                fetched = await self._get(path, ttl_s=ttl_s, key=key, params=query)
            except UpstreamError as error:
                if not parts:
                    raise
                return self._partial(rows, parts, _why(error))
            parts.append(fetched.provenance)
            page = fetched.value if isinstance(fetched.value, dict) else {}
            entries = page[key]
            for entry in map(read, entries if isinstance(entries, list) else []):
                if entry is not None:
                    rows.setdefault(entry.id, entry)
            await self._on_page(len(rows), key.replace("_", " "))
            cursor = _next_cursor(page.get("meta"))
            if cursor is None or cursor in seen:
                return Listing(list(rows.values()), Provenance.merge(TITLE, parts, self._upstream.clock.now()))
            seen.add(cursor)
            if len(parts) >= MAX_PAGES:
                return self._partial(rows, parts, "there are more than one answer can read")

    def _partial(self, rows: Mapping[str, T], parts: list[Provenance], why: str) -> Listing[T]:
        notice = f"Not complete: only the first {len(rows)} were read, since {why}."
        return Listing(list(rows.values()), Provenance.merge(TITLE, parts, self._upstream.clock.now()), [notice])


def _next_cursor(meta: JsonValue) -> str | None:
    if not isinstance(meta, dict) or meta.get("has_more") is False:
        return None
    cursor = meta.get("cursor")
    return cursor if isinstance(cursor, str) and cursor else None


def _why(error: UpstreamError) -> str:
    return "time ran out" if isinstance(error, UpstreamTimeout) else f"{TITLE} stopped answering ({error.code})"
