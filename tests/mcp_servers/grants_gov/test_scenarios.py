"""What people ask about federal grants, from the tool call to the answer.

The numbers are those of the acceptance scenarios; the others are in ``tests/mcp_servers/test_scenarios.py``.
"""

from __future__ import annotations

import json

import pytest
from mcp import Client

from tests.fakes.grants_gov_records import FORECAST, NUMBER_ONE
from tests.mcp_servers.grants_gov.conftest import Grants

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.requirement("grants_gov:open-search")
async def test_scenario_1_open_health_grants_for_a_nonprofit_closing_soon(grants: Grants) -> None:
    answer = await grants.search(eligibilities=["12"], funding_categories=["HL"], closing_within_days=60)

    (body,) = grants.fake.searches()
    assert body["eligibilities"] == "12|99"
    assert body["fundingCategories"] == "HL"
    assert (body["oppStatuses"], body["sortBy"]) == ("posted", "closeDate|asc")
    rows = answer.items
    assert [row["opportunity_number"] for row in rows] == ["EPA-X-1", "HRSA-27-005"]
    assert (rows[1]["close_date"], rows[1]["days_until_close"]) == ("2026-10-19", 25)
    assert rows[1]["url"] == "https://www.grants.gov/search-results-detail/363423"
    assert any("get_opportunities" in notice for notice in answer.payload["notices"])

    top = await grants.get(opportunity_ids=[row["opportunity_id"] for row in rows])
    assert [item["award_ceiling_usd"] for item in top.items] == [500000, 10116100]


@pytest.mark.requirement("grants_gov:one-notice")
async def test_scenario_2_one_notice_by_its_number_without_the_stale_forecast(grants: Grants) -> None:
    answer = await grants.get(opportunity_numbers=["HRSA-27-005"])

    (item,) = answer.items
    assert item["award_ceiling_usd"] == 10116100
    assert item["award_floor_usd"] == 650000
    assert item["expected_awards"] == 63
    assert item["estimated_total_funding_usd"] == 267773700
    assert item["money_source"] == "synopsis"
    assert item["close_date"] == "2026-10-19"
    assert "11:59 p.m., ET" in item["deadline_explanation"]
    assert item["deadline_is_estimate"] is False
    assert "19182000" not in answer.text
    assert "older forecast" not in answer.text
    assert item["description"].endswith("communities & patients.\n\n- Clinics\n- Outreach")
    assert item["attachments"][0]["url"].endswith("/att/download/355067")
    assert item["past_revision_count"] == 1
    assert "an earlier revision" not in answer.text


@pytest.mark.requirement("grants_gov:forecast")
async def test_scenario_3_a_forecast_says_that_its_dates_are_estimates(grants: Grants) -> None:
    (item,) = (await grants.get(opportunity_numbers=[FORECAST.number])).items

    assert item["close_date"] == "2027-04-19"
    assert item["deadline_is_estimate"] is True
    assert "estimate" in item["deadline_note"]
    assert item["forecast_estimates"]["estimated_posting_date"] == "2027-02-16"
    assert item["forecast_estimates"]["fiscal_year"] == 2027
    assert (item["award_ceiling_usd"], item["money_source"]) == (900000, "forecast")
    assert item["eligibility_text"] is None


@pytest.mark.requirement("grants_gov:placeholder-deadline")
@pytest.mark.parametrize("number", ["26-523", "OFOP0001473"])
async def test_scenario_4_a_stand_in_date_is_never_shown_as_a_deadline(grants: Grants, number: str) -> None:
    record = await grants.get(opportunity_numbers=[number])
    found = await grants.search(opportunity_number=number)

    for answer in (record, found):
        (item,) = answer.items
        assert (item["deadline_kind"], item["close_date"], item["days_until_close"]) == ("placeholder", None, None)
        assert "accepted anytime" in item["deadline_note"]
        assert "2076" not in answer.text
        assert "2099" not in answer.text
        assert "undefined" not in answer.text


@pytest.mark.requirement("grants_gov:ambiguous-number")
async def test_scenario_5_a_number_of_several_opportunities_gives_the_candidates(grants: Grants) -> None:
    answer = await grants.get(opportunity_numbers=["1", "HRSA-27-005"])

    assert [item["opportunity_number"] for item in answer.items] == ["HRSA-27-005"]
    (entry,) = answer.payload["unresolved"]
    assert (entry["input"], entry["reason"]) == ("1", "ambiguous")
    assert {candidate["opportunity_id"] for candidate in entry["candidates"]} == {str(one.id) for one in NUMBER_ONE}
    assert "Ask the user" in entry["next_step"]


@pytest.mark.requirement("grants_gov:both-eras")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_both_protocol_eras_list_and_call_the_same_tools(grants: Grants, mode: str) -> None:
    async with Client(f"{grants.url}/mcp", mode="legacy" if mode == "legacy" else "auto") as client:
        tools = (await client.list_tools()).tools
        result = await client.call_tool("search_opportunities", {"keyword": "biomonitoring"})

    assert [tool.name for tool in tools] == [
        "get_opportunities",
        "list_codes",
        "read_attachment",
        "search_opportunities",
    ]
    assert all(part["description"] for tool in tools for part in tool.input_schema["properties"].values())
    assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
    (block,) = result.content
    assert block.type == "text"
    assert json.loads(block.text)["items"][0]["opportunity_number"] == FORECAST.number


async def test_a_forecast_row_points_to_where_its_estimate_is(grants: Grants) -> None:
    (row,) = (await grants.search(keyword="biomonitoring")).items

    assert (row["status"], row["deadline_kind"], row["close_date"]) == ("forecasted", "none_listed", None)
    assert "get_opportunities" in row["deadline_note"]


async def test_pages_follow_the_cursor_and_end(grants: Grants) -> None:
    seen: list[str] = []
    cursor = None
    for _ in range(10):
        answer = await grants.search(limit=3, sort="number_asc", cursor=cursor)
        seen += [row["opportunity_number"] for row in answer.items]
        cursor = answer.payload["next_cursor"]
        if cursor is None:
            break

    assert not answer.payload["has_more"]
    assert len(seen) == answer.payload["total"] == 13
    assert seen == sorted(seen)
    assert [body["startRecordNum"] for body in grants.fake.searches()] == [0, 3, 6, 9, 12]


async def test_a_cursor_of_another_search_is_refused(grants: Grants) -> None:
    cursor = (await grants.search(limit=2)).payload["next_cursor"]

    answer = await grants.search(limit=2, keyword="rural", cursor=cursor)

    assert answer.text.startswith("[invalid_argument] cursor:")


@pytest.mark.requirement("grants_gov:codes")
async def test_codes_are_found_by_name(grants: Grants) -> None:
    nonprofit = await grants.call("list_codes", topic="eligibilities", name_contains="501(c)(3) not have")
    transit = await grants.call("list_codes", topic="agencies", name_contains="transit inactive")
    top = await grants.call("list_codes", topic="agencies")
    sorts = await grants.call("list_codes", topic="sorts")
    nothing = await grants.call("list_codes", topic="agencies", name_contains="---")

    assert [entry["code"] for entry in nonprofit.items] == ["13"]
    assert [(entry["code"], entry["parent"]) for entry in transit.items] == [("DOT-FTA - TPM", "DOT")]
    assert {entry["code"] for entry in top.items} == {"DOD", "DOE", "DOI", "DOS", "DOT", "HHS", "NSF", "USDA"}
    assert "close_date_asc" in {entry["code"] for entry in sorts.items}
    assert nothing.items == []
    assert len(grants.fake.searches()) == 1


async def test_published_codes_are_listed_while_grants_gov_is_down(grants: Grants) -> None:
    grants.fake.backend_down = True

    codes = await grants.call("list_codes", topic="funding_categories")
    agencies = await grants.call("list_codes", topic="agencies")

    assert {"HL", "ENV", "ED"} <= {entry["code"] for entry in codes.items}
    assert all(entry["opportunities"] is None for entry in codes.items)
    assert agencies.text.startswith("[upstream_unavailable]")


async def test_facets_come_when_asked_for(grants: Grants) -> None:
    without = await grants.search(keyword="rural")
    answer = await grants.search(keyword="rural", include_facets=True)

    assert "facets" not in without.payload
    assert answer.payload["facets"]["agencies"] == [
        {"code": "HHS", "label": "Department of Health and Human Services", "count": 2}
    ]
