"""The demo upstream: a few sample opportunities in the wire format of Grants.gov, each marked SAMPLE.

``demo`` uses it where the live Grants.gov can't be reached. It speaks ``search2`` and ``fetchOpportunity`` below
``/v1/api``, needs no network and invents nothing that could pass for a real opportunity: title, agency and description
of every record say SAMPLE. Dates are counted from today, so that deadlines are always ahead.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import uvicorn
from pydantic import JsonValue
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from mcp_servers.grants_gov.client import SAMPLE_MARK
from mcp_servers.grants_gov.codes import Topic, table
from open_persona.demo.samples import MARK, Sample, load_samples, matches, text

BASE_PATH = "/v1/api"

Json = dict[str, JsonValue]

_NEVER = 100 * 365  # sorts behind every deadline
_ECHOED = (
    "keyword",
    "oppNum",
    "cfda",
    "agencies",
    "eligibilities",
    "fundingCategories",
    "fundingInstruments",
    "oppStatuses",
    "dateRange",
    "sortBy",
)


@dataclass(frozen=True)
class DemoUpstream:
    """Answers both calls from ``samples``; ``today`` is asked at each call."""

    samples: tuple[Sample, ...]
    today: Callable[[], date]

    def search(self, params: Mapping[str, JsonValue]) -> Json:
        """The ``data`` of a search2 answer for the body ``params``."""
        statuses = text(params, "oppStatuses") or "forecasted|posted"
        scope = [sample for sample in self.samples if matches(sample, params)]
        hits = self._sorted([sample for sample in scope if sample.status in statuses.split("|")], params)
        start, rows = _number(params, "startRecordNum", 0), _number(params, "rows", 25)
        echo: Json = {name: text(params, name) for name in _ECHOED}
        return {
            "searchParams": {"resultType": "json", "searchOnly": False, "rows": rows, "startRecordNum": start, **echo},
            "hitCount": len(hits),
            "startRecord": start,
            "oppHits": [self._hit(sample) for sample in hits[start : start + rows]],
            "errorMsgs": [],
            **_facets(hits, scope),
        }

    def fetch(self, opportunity_id: str) -> Json:
        """The ``data`` of a fetchOpportunity answer."""
        for sample in self.samples:
            if str(sample.id) == opportunity_id:
                return self._record(sample)
        return {"revision": 0, "errorMessages": ["There is no record found for your search."]}

    def _sorted(self, hits: Sequence[Sample], params: Mapping[str, JsonValue]) -> list[Sample]:
        name, _, way = text(params, "sortBy").partition("|")
        keys: dict[str, Callable[[Sample], tuple[int, str]]] = {
            "": lambda _: (0, ""),
            "openDate": lambda sample: (sample.opened, ""),
            "closeDate": lambda sample: (_NEVER if sample.closes is None else sample.closes, ""),
            "oppNum": lambda sample: (0, sample.number),
            "agency": lambda sample: (0, sample.agency),
        }
        return sorted(hits, key=keys[name], reverse=way == "desc") if name in keys else []

    def _day(self, days: int | None) -> date | None:
        return None if days is None else self.today() + timedelta(days=days)

    def _hit(self, sample: Sample) -> Json:
        return {
            "id": str(sample.id),
            "number": sample.number,
            "title": sample.marked_title,
            "agencyCode": sample.agency,
            "agency": sample.agency_name,
            "openDate": _slashed(self._day(sample.opened)),
            "closeDate": _slashed(self._day(sample.closes)),
            "oppStatus": sample.status,
            "docType": "forecast" if sample.is_forecast else "synopsis",
            "cfdaList": [sample.listing],
        }

    def _record(self, sample: Sample) -> Json:
        block = self._block(sample)
        return {
            "id": sample.id,
            "revision": 0,
            "opportunityNumber": sample.number,
            "opportunityTitle": sample.marked_title,
            "owningAgencyCode": sample.agency,
            "ost": sample.status.upper(),
            "docType": "forecast" if sample.is_forecast else "synopsis",
            "opportunityCategory": {"category": "D", "description": "Discretionary"},
            "agencyDetails": {"agencyCode": sample.agency, "agencyName": sample.agency_name},
            "cfdas": [{"cfdaNumber": sample.listing, "programTitle": f"{MARK} program"}],
            "synopsis": None if sample.is_forecast else block,
            "forecast": block if sample.is_forecast else None,
            "synopsisAttachmentFolders": [],
            "opportunityPkgs": [],
            "opportunityHistoryDetails": [],
            "synopsisHistCount": 0,
            "forecastHistCount": 0,
            "errorMessages": [],
        }

    def _block(self, sample: Sample) -> Json:
        description = f"<p><b>{MARK} record of the demo, not a real opportunity.</b></p><p>{sample.description}</p>"
        return {
            "awardCeiling": sample.ceiling,
            "awardFloor": sample.floor,
            "estimatedFunding": sample.total,
            "numberOfAwards": sample.awards,
            "costSharing": sample.cost_sharing,
            "postingDateStr": _stamp(self._day(sample.opened)),
            "responseDateStr": _stamp(self._day(sample.closes)),
            "responseDateDesc": sample.deadline_text,
            "estApplicationResponseDateStr": _stamp(self._day(sample.estimated_close)),
            "synopsisDesc": description,
            "forecastDesc": description,
            "applicantEligibilityDesc": f"{MARK}: {sample.who}",
            "applicantTypes": _coded(sample.eligibilities, "eligibilities"),
            "fundingInstruments": _coded(sample.instruments, "funding_instruments"),
            "fundingActivityCategories": _coded(sample.categories, "funding_categories"),
        }


def build_app(*, today: Callable[[], date] | None = None) -> Starlette:
    """``POST /v1/api/search2``, ``POST /v1/api/fetchOpportunity`` and ``GET /healthz``."""
    upstream = DemoUpstream(load_samples(), today or (lambda: datetime.now(UTC).date()))

    async def search2(request: Request) -> JSONResponse:
        return _answer(upstream.search(await _body(request)))

    async def fetch(request: Request) -> JSONResponse:
        return _answer(upstream.fetch(str((await _body(request)).get("opportunityId", ""))))

    async def healthz(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "name": "demo upstream"})

    return Starlette(
        routes=[
            Route(f"{BASE_PATH}/search2", search2, methods=["POST"]),
            Route(f"{BASE_PATH}/fetchOpportunity", fetch, methods=["POST"]),
            Route("/healthz", healthz, methods=["GET"]),
        ]
    )


def _facets(hits: Sequence[Sample], scope: Sequence[Sample]) -> Json:
    tops = sorted({sample.agency.split("-")[0] for sample in hits})
    agencies: list[JsonValue] = [
        {
            "label": f"{MARK} agency {top}",
            "value": top,
            "count": sum(sample.agency.split("-")[0] == top for sample in hits),
            "subAgencyOptions": _counted((sample.agency for sample in hits if sample.agency.startswith(f"{top}-")), {}),
        }
        for top in tops
    ]
    return {
        "oppStatusOptions": _counted((sample.status for sample in scope), table("statuses")),
        "eligibilities": _counted((code for sample in hits for code in sample.eligibilities), table("eligibilities")),
        "fundingCategories": _counted(
            (code for sample in hits for code in sample.categories), table("funding_categories")
        ),
        "fundingInstruments": _counted(
            (code for sample in hits for code in sample.instruments), table("funding_instruments")
        ),
        "agencies": agencies,
    }


def _counted(values: Iterable[str], labels: Mapping[str, str]) -> list[JsonValue]:
    found = list(values)
    return [
        {"label": labels.get(code, f"{MARK} agency {code}"), "value": code, "count": found.count(code)}
        for code in sorted(set(found))
    ]


def _coded(codes: Sequence[str], topic: Topic) -> list[JsonValue]:
    return [{"id": code, "description": table(topic).get(code, code)} for code in codes]


def _number(params: Mapping[str, JsonValue], name: str, default: int) -> int:
    value = params.get(name)
    return value if isinstance(value, int) and value >= 0 else default


def _slashed(day: date | None) -> str:
    return "" if day is None else day.strftime("%m/%d/%Y")


def _stamp(day: date | None) -> str | None:
    return None if day is None else f"{day.isoformat()}-00-00-00"


async def _body(request: Request) -> Json:
    try:
        body: object = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        body = {}
    return body if isinstance(body, dict) else {}


def _answer(data: Json) -> JSONResponse:
    return JSONResponse({"errorcode": 0, "msg": f"Webservice Succeeds {SAMPLE_MARK}", "token": MARK, "data": data})


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m open_persona.demo.upstream --port N``: serve on loopback until stopped."""
    parser = argparse.ArgumentParser(prog="python -m open_persona.demo.upstream", description="Sample Grants.gov data.")
    parser.add_argument("--port", type=int, required=True, help="loopback port to listen on")
    options = parser.parse_args(arguments)
    uvicorn.run(build_app(), host="127.0.0.1", port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
