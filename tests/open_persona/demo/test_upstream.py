"""The demo upstream behind the real Grants.gov server."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import httpx
import pytest
from mcp import Client

from mcp_servers.grants_gov.server import build_app as build_grants_gov
from open_persona.demo.samples import has_keyword, load_samples
from open_persona.demo.upstream import BASE_PATH, DemoUpstream, build_app
from tests.fakes.asgi_server import serve_app


async def ask(*calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    async with (
        serve_app(build_app()) as upstream,
        serve_app(build_grants_gov(base_url=f"{upstream}{BASE_PATH}")) as url,
        Client(f"{url}/mcp") as client,
    ):
        answers = []
        for tool, arguments in calls:
            result = await client.call_tool(tool, arguments)
            assert not result.is_error, result.content
            (block,) = result.content
            assert block.type == "text"
            answers.append(json.loads(block.text))
        return answers


@pytest.mark.requirement("demo:sample-upstream")
async def test_every_answer_from_the_demo_says_sample() -> None:
    health, nothing, soon, record, codes = await ask(
        ("search_opportunities", {"keyword": "health", "eligibilities": ["12"], "funding_categories": ["HL"]}),
        ("search_opportunities", {"keyword": "nosuchword"}),
        ("search_opportunities", {"closing_within_days": 30}),
        ("get_opportunities", {"opportunity_numbers": ["SAMPLE-NSF-007", "SAMPLE-CDC-004"]}),
        ("list_codes", {"topic": "agencies"}),
    )

    assert len(health["items"]) == 3
    assert all(item["title"].startswith("SAMPLE") for item in health["items"] + soon["items"] + record["items"])
    assert all("SAMPLE" in item["agency_name"] for item in health["items"])
    assert all("SAMPLE" in item["description"] for item in record["items"])
    assert all("SAMPLE" in entry["label"] for entry in codes["items"])
    for answer in (health, nothing, soon, record, codes):
        assert any("SAMPLE data" in notice for notice in answer["notices"])
        assert answer["source"] != "Grants.gov"
    days = [item["days_until_close"] for item in soon["items"]]
    assert days == sorted(days)
    assert all(0 <= day <= 30 for day in days)
    assert [item["deadline_kind"] for item in record["items"]] == ["placeholder", "fixed"]


async def test_topics_of_the_demo_find_something() -> None:
    answers = await ask(
        *[("search_opportunities", {"keyword": word}) for word in ("health", "education", "food", "environmental")],
        ("search_opportunities", {"keyword": "food OR water", "agencies": ["USDA"]}),
        ("search_opportunities", {"statuses": ["closed"]}),
        ("search_opportunities", {"limit": 5, "sort": "close_date_asc"}),
    )

    assert all(answer["items"] for answer in answers)
    assert {item["agency_code"] for item in answers[4]["items"]} == {"USDA-FNS1", "USDA-NIFA"}
    assert answers[6]["has_more"] is True


def test_no_sample_has_the_id_of_a_real_opportunity_and_all_differ() -> None:
    samples = load_samples()

    assert all(sample.id > 2**31 for sample in samples)
    assert len({sample.id for sample in samples}) == len({sample.number for sample in samples}) == len(samples)


def test_posted_samples_are_always_open() -> None:
    upstream = DemoUpstream(load_samples(), lambda: date(2031, 2, 28))

    hits = upstream.search({"oppStatuses": "posted", "sortBy": "closeDate|asc"})["oppHits"]

    assert isinstance(hits, list)
    assert isinstance(hits[0], dict)
    assert hits[0]["closeDate"] == "03/12/2031"


@pytest.mark.parametrize(
    ("keyword", "found"),
    [
        ("", True),
        ("food", True),
        ("food AND water", False),
        ("food OR water", True),
        ("food water", True),
        ("NOT water", True),
        ("(water OR school*) AND food", True),
        ('"school food"', False),
        ("foo", False),
        ("AND", False),
        ("(", False),
        ("NOT", True),
    ],
)
def test_keywords(keyword: str, found: bool) -> None:
    assert has_keyword(keyword, "local food for schools") is found


async def test_broken_requests_get_an_answer() -> None:
    async with serve_app(build_app()) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for body in (b"", b"[]", b"\xff", b'{"oppStatuses": ["posted"], "rows": "x", "sortBy": "title|asc"}'):
            answer = await client.post(f"{BASE_PATH}/search2", content=body)
            assert answer.json()["errorcode"] == 0
        missing = await client.post(f"{BASE_PATH}/fetchOpportunity", json={"opportunityId": 1})
        healthy = await client.get("/healthz")

    assert "no record" in missing.json()["data"]["errorMessages"][0]
    assert healthy.json()["status"] == "ok"
