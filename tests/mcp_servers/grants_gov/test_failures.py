"""Wrong arguments, and an upstream that is down, slow, busy or talks nonsense."""

from __future__ import annotations

from typing import Any

import pytest
from mcp import Client

from mcp_servers.grants_gov.server import build_app
from mcp_servers.kit.upstream import Policy
from tests.fakes.asgi_server import serve_app
from tests.mcp_servers.grants_gov.conftest import Grants

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.requirement("grants_gov:retry")
async def test_scenario_extra_429_a_busy_upstream_is_asked_again_after_the_time_it_names(grants: Grants) -> None:
    grants.fake.fail(429, headers={"Retry-After": "3"})

    answer = await grants.search(keyword="rural")

    assert len(answer.items) == 2
    assert grants.clock.waits == [3.0]


@pytest.mark.requirement("grants_gov:retry")
async def test_scenario_extra_429_an_upstream_that_stays_busy_is_reported_once(grants: Grants) -> None:
    grants.fake.fail(429, times=3, headers={"Retry-After": "4"})

    answer = await grants.search(keyword="rural")

    assert answer.is_error
    assert answer.text.startswith("[rate_limited]")
    assert "retry_after_seconds: 4" in answer.text
    assert "What to do:" in answer.text


@pytest.mark.requirement("grants_gov:failures")
async def test_scenario_extra_500_an_html_error_page_is_never_passed_on(grants: Grants) -> None:
    for status in (200, 500):
        grants.fake.fail(status, times=3, html=True)
        answer = await grants.get(opportunity_ids=["363423"])

        assert answer.text.startswith("[upstream_unavailable]")
        assert "Ignore" not in answer.text


@pytest.mark.requirement("grants_gov:failures")
@pytest.mark.parametrize("tool", ["search_opportunities", "get_opportunities"])
async def test_a_backend_that_is_down_in_band_is_an_error(grants: Grants, tool: str) -> None:
    grants.fake.backend_down = True
    arguments: dict[str, Any] = {} if tool == "search_opportunities" else {"opportunity_ids": ["363423"]}

    answer = await grants.call(tool, **arguments)

    assert answer.text.startswith("[upstream_unavailable]")
    assert "from memory" in answer.text
    assert len(grants.fake.requests) == 3


async def test_an_upstream_that_hangs_is_given_up(grants: Grants) -> None:
    grants.fake.answering.clear()
    app = build_app(base_url=grants.fake.url, policy=Policy(attempts=1, attempt_timeout_s=0.1))
    try:
        async with serve_app(app) as url, Client(f"{url}/mcp") as client:
            result = await client.call_tool("search_opportunities", {})
    finally:
        grants.fake.answering.set()

    (block,) = result.content
    assert result.is_error
    assert block.type == "text"
    assert block.text.startswith("[timeout]")


async def test_an_error_code_in_the_envelope_is_an_error(grants: Grants) -> None:
    grants.fake.fail(200, times=3)  # 200 without the envelope

    answer = await grants.search()

    assert answer.text.startswith("[upstream_unavailable]")


async def test_a_closed_route_is_told_apart(grants: Grants) -> None:
    grants.fake.fail(403)

    answer = await grants.search()

    assert answer.text.startswith("[forbidden]")
    assert "operator" in answer.text


async def test_an_older_answer_is_given_with_its_age_when_upstream_fails(grants: Grants) -> None:
    first = await grants.search(keyword="rural")
    grants.clock.seconds += 400
    grants.fake.backend_down = True

    later = await grants.search(keyword="rural")

    assert later.items == first.items
    assert later.payload["from_cache"] is True
    assert later.payload["cache_age_seconds"] >= 400
    assert any("out of date" in notice for notice in later.payload["notices"])


@pytest.mark.requirement("grants_gov:not-found")
async def test_what_is_not_found_is_a_result_with_the_next_step(grants: Grants) -> None:
    answer = await grants.get(opportunity_ids=["999999999"], opportunity_numbers=["NO-SUCH-1"])

    assert answer.items == []
    by_id, by_number = answer.payload["unresolved"]
    assert (by_id["input"], by_id["reason"]) == ("999999999", "not_found")
    assert "opportunity_numbers" in by_id["next_step"]
    assert (by_number["input"], by_number["reason"]) == ("NO-SUCH-1", "not_found")
    assert any("Do not guess" in notice for notice in answer.payload["notices"])


@pytest.mark.requirement("grants_gov:bad-input")
@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("get_opportunities", {"opportunity_ids": ["-5"]}, "opportunity_ids"),
        ("get_opportunities", {"opportunity_ids": ["0"]}, "opportunity_ids"),
        ("get_opportunities", {"opportunity_ids": ["HRSA-27-005"]}, "opportunity_ids"),
        ("get_opportunities", {"opportunity_ids": ["9" * 13]}, "opportunity_ids"),
        ("get_opportunities", {}, "opportunity_ids"),
        (
            "get_opportunities",
            {"opportunity_ids": [1, 2, 3], "opportunity_numbers": ["a", "b", "c"]},
            "opportunity_ids",
        ),
        ("get_opportunities", {"opportunity_numbers": ['A" OR "B']}, "opportunity_numbers"),
        ("search_opportunities", {"limit": 26}, "limit"),
        ("search_opportunities", {"eligibilities": ["nonprofit"]}, "eligibilities"),
        ("search_opportunities", {"funding_categories": ["XX"]}, "funding_categories"),
        ("search_opportunities", {"funding_instruments": ["Z"]}, "funding_instruments"),
        ("search_opportunities", {"statuses": ["open"]}, "statuses"),
        ("search_opportunities", {"assistance_listing": "93.866|47.076"}, "assistance_listing"),
        ("search_opportunities", {"posted_within_days": 0}, "posted_within_days"),
        ("search_opportunities", {"closing_within_days": -1}, "closing_within_days"),
        ("search_opportunities", {"award_min": 5}, "award_min"),
        ("search_opportunities", {"cursor": "nonsense"}, "cursor"),
        ("list_codes", {"topic": "colours"}, "topic"),
    ],
)
async def test_a_wrong_argument_is_named_and_nothing_is_asked(
    grants: Grants, tool: str, arguments: dict[str, Any], field: str
) -> None:
    answer = await grants.call(tool, **arguments)

    assert answer.is_error
    assert answer.text.startswith(f"[invalid_argument] {field}")
    assert "What to do:" in answer.text
    assert [body for body in grants.fake.searches() if body["rows"]] == []


async def test_what_models_tend_to_send_is_understood(grants: Grants) -> None:
    answer = await grants.search(
        eligibilities="12, 13", statuses="posted|forecasted", funding_categories="hl", keyword="", limit="2", sort=""
    )
    record = await grants.get(opportunity_ids=363423)

    body = grants.fake.searches()[0]
    assert (body["eligibilities"], body["oppStatuses"]) == ("12|13|99", "posted|forecasted")
    assert answer.payload["returned"] == 2
    assert record.items[0]["opportunity_number"] == "HRSA-27-005"


async def test_a_new_category_is_taken_once_upstream_lists_it(grants: Grants) -> None:
    grants.fake.records[0].categories = ["EIC"]
    try:
        answer = await grants.search(funding_categories=["eic"])
    finally:
        grants.fake.records[0].categories = ["HL"]

    assert [row["opportunity_number"] for row in answer.items] == ["HRSA-27-005"]
