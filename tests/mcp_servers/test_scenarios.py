"""Acceptance scenarios that need more than one integration, and the check that none of the numbers is missing.

1 open federal search, 2 one notice, 3 forecast, 4 placeholder deadline, 5 ambiguous number, 6 my pipeline, 7 search
in my grants, 8 key failures, 9 two users, 11 a funder, 13 shortlist across sources; ``extra``: busy and broken
upstreams, a record of 733 KB, instructions inside a notice. What needs a persona's judgement (10, 12, 14) is tested
with the personas.
"""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mcp.types import CallToolResult
from pydantic import JsonValue

from mcp_servers.grants_gov.server import build_app
from mcp_servers.kit.upstream import Policy
from tests.fakes.asgi_server import serve_app
from tests.fakes.grants_gov import GrantsGovFake
from tests.fakes.grants_gov import running_fake as running_grants_gov
from tests.fakes.grants_gov_records import HRSA
from tests.fakes.instrumentl import ALICE, AccountData, grant_row
from tests.mcp_servers.instrumentl.service import Service, running_service
from tests.mcp_servers.mcp_session import connected, failure_of, payload_of

SCENARIOS = {"1", "2", "3", "4", "5", "6", "7", "8", "9", "11", "13", "extra"}
SHARED = "Fiscal Year (FY) 2027 Service Area Competition (SAC)"

Row = dict[str, JsonValue]


@dataclass
class Sources:
    """Both servers with their upstreams, asked at once as a persona's turn would."""

    instrumentl: Service
    grants_gov: GrantsGovFake
    grants_gov_url: str

    async def both(self, key: tuple[str, str] | None = ALICE) -> tuple[CallToolResult, CallToolResult]:
        async with self.instrumentl.as_user(key) as mine, connected(self.grants_gov_url) as federal:
            return await asyncio.gather(
                mine.call_tool("list_saved_grants", {}),
                federal.call_tool("search_opportunities", {"funding_categories": ["HL"], "closing_within_days": 60}),
            )


@pytest.fixture
async def sources() -> AsyncIterator[Sources]:
    mine = AccountData(
        "Alice Aid",
        [{"id": 1, "project_title": "Clinics"}],
        [{"id": 501, "grant_id": 11, "project_id": 1}, {"id": 502, "grant_id": 12, "project_id": 1}],
        [grant_row(11, SHARED), grant_row(12, "Clinic Roofs")],
    )
    quick = Policy(rate_per_s=1000, burst=1000, deadline_s=3, attempt_timeout_s=1, attempts=1)
    async with running_service(accounts={ALICE: mine}) as instrumentl, running_grants_gov() as fake:
        today = datetime.now(UTC).date()
        closes = f"{today + timedelta(days=25):%m/%d/%Y}"
        fake.records = [
            replace(HRSA, opened=f"{today:%m/%d/%Y}", closes=closes),
            replace(HRSA, id=363600, number="HRSA-27-006", title="Rural health networks", closes=closes, root={}),
        ]
        async with serve_app(build_app(base_url=fake.url, policy=quick)) as url:
            yield Sources(instrumentl, fake, url)


def named(result: CallToolResult) -> list[Row]:
    """Items with a common ``name``; any other field stays as the source gave it."""
    payload = payload_of(result)
    items = payload["items"]
    assert isinstance(items, list)
    source = payload["source"]
    return [
        {**item, "name": item.get("name", item.get("title")), "source": source}
        for item in items
        if isinstance(item, dict)
    ]


def merged(*lists: list[Row]) -> list[Row]:
    """One entry for each title, soonest deadline first, with all the sources that have it."""
    found: dict[str, Row] = {}
    for row in (row for rows in lists for row in rows):
        entry = found.setdefault(re.sub(r"\W+", " ", str(row["name"])).lower(), {**row, "sources": []})
        assert isinstance(entry["sources"], list)
        entry["sources"].append(row["source"])
        for field, value in row.items():
            if entry.get(field) is None:
                entry[field] = value
    return sorted(found.values(), key=lambda row: str(row.get("close_date") or row.get("next_deadline") or "9999"))


@pytest.mark.requirement("scenarios:shortlist")
async def test_scenario_13_both_sources_make_one_shortlist_without_twins(sources: Sources) -> None:
    mine, federal = await sources.both()

    shortlist = merged(named(mine), named(federal))

    assert {row["name"] for row in shortlist} == {SHARED, "Clinic Roofs", "Rural health networks"}
    [shared] = [row for row in shortlist if row["name"] == SHARED]
    assert isinstance(shared["sources"], list)
    assert len(shared["sources"]) == 2
    assert "Instrumentl" in shared["sources"]
    assert (shared["opportunity_number"], shared["grant_id"]) == ("HRSA-27-005", "11")
    for row in shortlist:  # what a reason for a rank needs
        assert row.get("days_left") is not None or row.get("days_until_close") is not None
        assert row["deadline_kind"] == "fixed"
        assert row["url"]


@pytest.mark.requirement("scenarios:shortlist")
@pytest.mark.parametrize("failing", ["Instrumentl", "Grants.gov"])
async def test_scenario_13_one_source_failing_leaves_the_other_and_a_named_gap(sources: Sources, failing: str) -> None:
    if failing == "Instrumentl":
        sources.instrumentl.fake.fail(500)
    else:
        sources.grants_gov.fail(500, times=5, html=True)

    mine, federal = await sources.both()

    broken, whole = (mine, federal) if failing == "Instrumentl" else (federal, mine)
    code, text = failure_of(broken)
    assert code == "upstream_unavailable"
    assert failing in text
    assert len(named(whole)) == 2


@pytest.mark.requirement("scenarios:fallback")
async def test_scenario_8_without_a_key_grants_gov_still_answers(sources: Sources) -> None:
    mine, federal = await sources.both(key=None)
    assert failure_of(mine)[0] == "missing_credentials"
    assert {row["name"] for row in named(federal)} == {SHARED, "Rural health networks"}
    assert sources.instrumentl.fake.requests == []


def test_every_scenario_has_a_test_that_bears_its_number() -> None:
    found = set()
    for file in Path(__file__).parent.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            name = getattr(node, "name", "")
            if isinstance(name, str) and (match := re.match(r"test_scenario_([0-9]+|extra)_", name)):
                found.add(match[1])
    assert found >= SCENARIOS
