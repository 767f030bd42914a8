"""What people ask about their own grants, by the number of the acceptance scenario."""

from __future__ import annotations

import asyncio
import json
import logging
from itertools import groupby

import pytest
from pydantic import JsonValue

from mcp_servers.instrumentl.client import ADVICE, TITLE
from mcp_servers.instrumentl.server import build_app
from mcp_servers.kit.upstream import Policy, Upstream
from tests.fakes.asgi_server import serve_app
from tests.fakes.instrumentl import ALICE, BOB, UPSTREAM_TEXT, FaultKind, days_from_now, running_fake
from tests.mcp_servers.instrumentl.service import Service, settings_headers
from tests.mcp_servers.kit.stepped_clock import SteppedClock
from tests.mcp_servers.mcp_session import connected, failure_of, payload_of

Payload = dict[str, JsonValue]
QUESTIONS: dict[str, dict[str, object]] = {
    "list_projects": {},
    "list_saved_grants": {},
    "search_my_grants": {"query": "food"},
    "get_grants": {"grant_ids": ["11", "21"]},
    "list_deadlines": {},
}


async def ask(url: str, key: tuple[str, str], tool: str, **arguments: object) -> Payload:
    async with connected(url, headers=settings_headers(*key)) as client:
        return payload_of(await client.call_tool(tool, arguments))


def rows(payload: Payload) -> list[Payload]:
    items = payload["items"]
    assert isinstance(items, list)
    return [item for item in items if isinstance(item, dict)]


@pytest.mark.requirement("instrumentl:list-deadlines")
async def test_scenario_6_what_is_due_this_month_by_project_with_rolling_grants_apart(service: Service) -> None:
    due = await ask(service.url, ALICE, "list_deadlines", days_ahead=31)
    projects = await ask(service.url, ALICE, "list_projects")

    titles = {row["project_id"]: row["title"] for row in rows(projects)}
    by_project = {
        titles[project]: [(row["date"], row["url"]) for row in group]
        for project, group in groupby(rows(due), key=lambda row: str(row["project_id"]))
    }
    assert by_project == {
        "Food & farms": [
            (days_from_now(16), "https://www.instrumentl.com/grants/grant-11"),
            (days_from_now(17), None),
        ]
    }
    assert [entry["name"] for entry in due["rolling"] if isinstance(entry, dict)] == ["Always Open"]  # type: ignore[union-attr]
    assert due["rolling_count"] == 1


@pytest.mark.requirement("instrumentl:search-my-grants")
async def test_scenario_7_which_saved_grants_fund_food_in_indiana_without_made_up_amounts(service: Service) -> None:
    found = await ask(
        service.url, ALICE, "search_my_grants", query="food insecurity", geography="Indiana", saved_only=True
    )

    assert [row["name"] for row in rows(found)] == ["Hunger Relief"]
    searched = str(found["notices"])
    assert "Searched 4 grants available to this account, read at " in searched
    assert "UTC" in searched
    [record] = rows(await ask(service.url, ALICE, "get_grants", grant_ids=["11"], response_format="detailed"))
    for answer in (rows(found)[0], record):
        assert not any("amount" in name or "award" in name for name in answer)
        assert "$" not in json.dumps(answer)


@pytest.mark.requirement("instrumentl:error-codes")
@pytest.mark.parametrize(
    ("key", "fault", "code", "step"),
    [
        (None, None, "missing_credentials", "Open Persona: Instrumentl"),
        ((ALICE[0], "a-wrong-key"), None, "invalid_credentials", "Integrations > API"),
        (ALICE, 402, "plan_required", "Full Lifecycle, Enterprise, University"),
    ],
)
async def test_scenario_8_no_key_a_wrong_key_and_no_plan_each_give_a_next_step(
    service: Service,
    caplog: pytest.LogCaptureFixture,
    key: tuple[str, str] | None,
    fault: FaultKind | None,
    code: str,
    step: str,
) -> None:
    if fault is not None:
        service.fake.fail(fault)
    with caplog.at_level(logging.DEBUG):
        async with service.as_user(key) as client:
            seen, text = failure_of(await client.call_tool("list_deadlines", {}))
    assert (seen, step in text) == (code, True)
    ours = "".join(record.getMessage() for record in caplog.records if record.name.startswith("mcp_servers"))
    for secret in (*ALICE, "a-wrong-key", UPSTREAM_TEXT):
        assert secret not in text
        assert secret not in ours


@pytest.mark.requirement("instrumentl:isolation")
async def test_scenario_9_two_users_with_different_keys_ask_the_same_at_once(service: Service) -> None:
    """The very same questions, interleaved, first with nothing cached and then with everything cached."""
    for _ in range(3):
        tasks = [
            asyncio.create_task(ask(service.url, key, tool, **arguments))
            for tool, arguments in QUESTIONS.items()
            for key in (ALICE, BOB)
        ]
        answers = [json.dumps(payload["items"]) for payload in await asyncio.gather(*tasks)]
        alice, bob = "".join(answers[::2]), "".join(answers[1::2])
        assert "Hunger Relief" in alice
        assert "Bridges and Food" in bob
        assert all(word not in alice for word in ("Bob", "Bridges", '"21"', '"71"'))
        assert all(word not in bob for word in ("Hunger", "Libraries", "farms", '"11"', '"501"'))


@pytest.mark.requirement("instrumentl:isolation")
async def test_scenario_9_an_older_answer_for_a_failure_is_the_askers_own() -> None:
    clock = SteppedClock()
    policy = Policy(rate_per_s=1000, burst=1000, deadline_s=3, attempt_timeout_s=1, attempts=1)
    async with running_fake() as fake:
        upstream = Upstream(fake.url, title=TITLE, policy=policy, advice=ADVICE, clock=clock)
        async with serve_app(build_app(upstream)) as url:
            await ask(url, ALICE, "list_projects")
            clock.seconds += 3600
            fake.fail(500)
            alice = await ask(url, ALICE, "list_projects")
            async with connected(url, headers=settings_headers(*BOB)) as client:
                code, text = failure_of(await client.call_tool("list_projects", {}))

    assert alice["from_cache"] is True
    assert "out of date" in str(alice["notices"])
    assert code == "upstream_unavailable"
    assert "farms" not in text


async def test_scenario_extra_429_a_short_one_is_waited_out_and_a_long_one_told_once(service: Service) -> None:
    service.fake.fail(429, times=1)
    assert rows(await ask(service.url, ALICE, "list_projects"))
    service.fake.heal()
    service.fake.fail(429, retry_after="40")
    async with service.as_user(BOB) as client:
        code, text = failure_of(await client.call_tool("list_projects", {}))
    assert (code, text.count("retry_after_seconds: 40")) == ("rate_limited", 1)
    assert service.fake.paths().count("/v1/projects") == 3
