"""ProPublica's Nonprofit Explorer API (v2): two addresses, GET only, without a key.

Shapes as on ProPublica's own page and in a public client that was checked against the live API in June 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from mcp_servers.kit.errors import Code, NotFound, UpstreamUnavailable
from mcp_servers.kit.results import Provenance
from mcp_servers.kit.upstream import Policy, Request, Upstream

BASE_URL = "https://projects.propublica.org/nonprofits/api/v2"
POLICY = Policy(rate_per_s=2, burst=4, concurrency=2, deadline_s=22, attempt_timeout_s=8)
"""No limit is published. Under the manifest's 25 s, so that the answer is ours and not the gateway's."""

ADVICE: Mapping[Code, str] = {
    "not_found": "Check the EIN (nine digits), or find it by name with search_nonprofits. Do not guess one.",
    "upstream_unavailable": "Wait a minute, then repeat the same call once. If it fails again, say that Nonprofit"
    " Explorer is not answering, and give no figures from memory.",
}

PER_PAGE = 25
MOST_RESULTS = 10_000
"""The search counts and gives no more than these."""

TTL_S = 3600.0
"""The IRS publishes about monthly."""

Row = dict[str, JsonValue]


@dataclass(frozen=True)
class Query:
    """What to look for. ``group`` is a number from 1 to 10: any other makes the API fail."""

    words: str
    state: str | None = None
    group: int | None = None
    subsection: int | None = None

    def params(self, page: int) -> dict[str, str | int]:
        narrowed = {"state[id]": self.state, "ntee[id]": self.group, "c_code[id]": self.subsection}
        return {"q": self.words, "page": page, **{key: value for key, value in narrowed.items() if value is not None}}


@dataclass(frozen=True)
class Hits:
    """Rows of the API's page that holds an offset, from that offset on. ``total`` is at most ``MOST_RESULTS``."""

    rows: list[Row]
    total: int
    provenance: Provenance


@dataclass(frozen=True)
class Record:
    """One organization; ``filings`` have their figures, ``scans`` only a link. Both are as the API orders them."""

    organization: Row
    filings: list[Row]
    scans: list[Row]
    provenance: Provenance


class Client:
    """Reads organizations. Raises the kit's failures; NotFound for an EIN that nobody has."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def search(self, query: Query, *, offset: int) -> Hits:
        page, skipped = divmod(offset, PER_PAGE)
        fetched = await self._upstream.fetch(Request("search.json", query.params(page)), ttl_s=TTL_S, check=_check_hits)
        value = _row(fetched.value)
        total = value.get("total_results")
        rows = _rows(value.get("organizations"))
        return Hits(rows[skipped:], total if isinstance(total, int) else 0, fetched.provenance)

    async def read(self, ein: int) -> Record:
        request = Request(f"organizations/{ein}.json")
        fetched = await self._upstream.fetch(request, ttl_s=TTL_S, check=_check_record)
        value = _row(fetched.value)
        return Record(
            _row(value.get("organization")),
            _rows(value.get("filings_with_data")),
            _rows(value.get("filings_without_data")),
            fetched.provenance,
        )


def _check_hits(value: JsonValue) -> None:
    answer = _row(value)
    if not isinstance(answer.get("organizations"), list) or not isinstance(answer.get("total_results"), int):
        raise UpstreamUnavailable("Nonprofit Explorer gave no usable answer.")


def _check_record(value: JsonValue) -> None:
    """A 200 can say that there is no such organization."""
    organization = _row(_row(value).get("organization"))
    if not organization:
        raise UpstreamUnavailable("Nonprofit Explorer gave no usable answer.")
    if organization.get("id") == 0 or organization.get("name") == "Unknown Organization":
        raise NotFound("Nonprofit Explorer has no organization with this EIN.")


def _row(value: JsonValue) -> Row:
    return value if isinstance(value, dict) else {}


def _rows(value: JsonValue) -> list[Row]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
