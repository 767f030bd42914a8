"""The two endpoints of Grants.gov's keyless API, with the failures that they tell inside a 200.

Each 200 is ``{"errorcode": 0, "msg": …, "token": …, "data": {…}}``, also when nothing was found or the backend is down
(observed 2026-09-24).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from pydantic import JsonValue

from mcp_servers.grants_gov.codes import Vocabulary, read_facets
from mcp_servers.grants_gov.echo import contradicted, not_applied, unconfirmed
from mcp_servers.grants_gov.query import SearchBody, facets_body
from mcp_servers.kit.clock import Deadline
from mcp_servers.kit.errors import Code, NotFound, Unsupported, UpstreamUnavailable
from mcp_servers.kit.results import Provenance
from mcp_servers.kit.upstream import Fetched, Policy, Request, Upstream

OFFICIAL_URL = "https://api.grants.gov/v1/api"
POLICY = Policy(rate_per_s=8, burst=12, concurrency=4, deadline_s=22, attempt_timeout_s=12)
"""No limit is published; four requests at a time is what was seen to be served without complaint."""

SEARCH_TTL_S = 300.0
RECORD_TTL_S = 900.0
CODES_TTL_S = 24 * 3600.0

ADVICE: Mapping[Code, str] = {
    "forbidden": "The Grants.gov API has moved or is closed. Tell the operator of this deployment.",
    "upstream_unavailable": "Wait a minute, then repeat the same call once. If it fails again, say that Grants.gov is"
    " not answering, and name no opportunities from memory.",
}

SAMPLE_MARK = "(SAMPLE data)"
SAMPLE_NOTICE = "SAMPLE data of the demo: none of these opportunities is real."
"""Said in every answer whose upstream marks its envelope's ``msg`` so, as the demo upstream does."""

_DOWN = ("not available", "no response received")

Data = dict[str, JsonValue]


@dataclass(frozen=True)
class SearchAnswer:
    """One answer of ``search2``: ``total`` counts all hits, ``hits`` holds those of the page."""

    total: int
    hits: tuple[Data, ...]
    facets: Vocabulary
    provenance: Provenance
    notices: tuple[str, ...] = ()


class GrantsGov:
    """Reads opportunities. Raises the kit's failures; Unsupported where a filter was silently dropped."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream

    async def search(self, body: SearchBody, deadline: Deadline, *, ttl_s: float = SEARCH_TTL_S) -> SearchAnswer:
        """The hits of ``body``, if Grants.gov really applied every filter in it."""
        request = Request("search2", json_body=cast(Data, dict(body)))
        fetched = _marked(await self.upstream.fetch(request, ttl_s=ttl_s, deadline=deadline, check=_check_search))
        data = _data(fetched.value)
        hits = tuple(hit for hit in _list(data.get("oppHits")) if isinstance(hit, dict))
        total = data.get("hitCount")
        notices = _guard(body, data, hits)
        return SearchAnswer(
            total=total if isinstance(total, int) else len(hits),
            hits=hits,
            facets=read_facets(data),
            provenance=fetched.provenance,
            notices=notices,
        )

    async def read(self, opportunity_id: str, deadline: Deadline) -> tuple[Data | None, Provenance]:
        """The record with that id (digits), or None where there is none."""
        request = Request("fetchOpportunity", json_body={"opportunityId": int(opportunity_id)})
        try:
            fetched = _marked(
                await self.upstream.fetch(request, ttl_s=RECORD_TTL_S, deadline=deadline, check=_check_record)
            )
        except NotFound:
            return None, Provenance(self.upstream.title, self.upstream.clock.now())
        data = _data(fetched.value)
        if str(data["id"]) != opportunity_id:
            raise UpstreamUnavailable("Grants.gov answered with another opportunity than the one asked for.")
        return data, fetched.provenance

    async def vocabulary(self, deadline: Deadline) -> tuple[Vocabulary, Provenance]:
        """Every code in use, at most a day old."""
        answer = await self.search(facets_body(), deadline, ttl_s=CODES_TTL_S)
        return answer.facets, answer.provenance


def _marked(fetched: Fetched) -> Fetched:
    message = fetched.value.get("msg") if isinstance(fetched.value, dict) else None
    if not isinstance(message, str) or SAMPLE_MARK not in message:
        return fetched
    provenance = replace(fetched.provenance, notices=(SAMPLE_NOTICE, *fetched.provenance.notices))
    return replace(fetched, provenance=provenance)


def _data(value: JsonValue) -> Data:
    data = value.get("data") if isinstance(value, dict) else None
    return data if isinstance(data, dict) else {}


def _check(value: JsonValue) -> Data:
    """``data`` of a good answer. Raises UpstreamUnavailable for one that says in its body that it is none."""
    if not isinstance(value, dict) or not isinstance(value.get("data"), dict) or value.get("errorcode", 0) != 0:
        raise _unavailable("gave no usable answer")
    data = _data(value)
    message = data.get("message")
    if isinstance(message, str) and any(sign in message.lower() for sign in _DOWN):
        raise _unavailable("has its search backend down")
    return data


def _check_search(value: JsonValue) -> None:
    data = _check(value)
    if not isinstance(data.get("oppHits", []), list | None) or not {"hitCount", "oppHits", "searchParams"} & set(data):
        raise _unavailable("gave no usable answer")


def _check_record(value: JsonValue) -> None:
    data = _check(value)
    if isinstance(data.get("id"), int | str):
        return
    if data.get("errorMessages") or data.get("errorMsgs"):
        raise NotFound("Grants.gov has no such opportunity.")
    raise _unavailable("gave no usable answer")


def _unavailable(what: str) -> UpstreamUnavailable:
    return UpstreamUnavailable(f"Grants.gov {what}.", what_to_do=ADVICE["upstream_unavailable"])


def _guard(body: SearchBody, data: Data, hits: tuple[Data, ...]) -> tuple[str, ...]:
    params = data.get("searchParams")
    if not isinstance(params, dict):
        if not hits and not data.get("hitCount"):
            raise Unsupported(
                "Grants.gov could not read this search and answered nothing at all.",
                what_to_do="Search again with fewer filters. Do not conclude that there are no opportunities.",
            )
        params = {}
    if wrong := tuple(dict.fromkeys((*not_applied(body, params), *contradicted(body, hits)))):
        raise Unsupported(
            f"Grants.gov did not apply: {', '.join(wrong)}. Its answer is wider than the question and was discarded.",
            what_to_do="Leave that filter out and check it on each opportunity with get_opportunities.",
        )
    if hits and (open_ends := unconfirmed(body, params)):
        return (f"Grants.gov did not confirm these filters, so check the items: {', '.join(open_ends)}.",)
    return ()


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []
