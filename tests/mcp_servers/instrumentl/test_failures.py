"""Each way to fail, what the model is told, and what must never be in it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mcp_servers.kit.upstream import Policy
from tests.fakes.instrumentl import ALICE, BOB, UPSTREAM_TEXT, FaultKind
from tests.mcp_servers.instrumentl.service import Service, running_service, settings_headers
from tests.mcp_servers.mcp_session import connected, failure_of, payload_of

TOOLS: dict[str, dict[str, object]] = {
    "check_connection": {},
    "list_projects": {},
    "list_saved_grants": {},
    "search_my_grants": {"query": "food"},
    "get_grants": {"grant_ids": ["11"]},
    "list_deadlines": {},
}


@pytest.mark.requirement("instrumentl:missing-credentials")
@pytest.mark.parametrize("tool", TOOLS)
async def test_without_a_key_nothing_is_asked_and_the_fields_are_named(service: Service, tool: str) -> None:
    async with service.as_user(None) as client:
        code, text = failure_of(await client.call_tool(tool, TOOLS[tool]))
    assert code == "missing_credentials"
    assert "“API key ID” and “API private key”" in text
    assert "Open Persona: Instrumentl" in text
    assert service.fake.requests == []


@pytest.mark.requirement("instrumentl:invalid-credentials")
async def test_a_wrong_key_is_told_and_not_repeated(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="mcp_servers"):
        async with service.as_user((ALICE[0], "mistyped-private")) as client:
            code, text = failure_of(await client.call_tool("list_projects", {}))
    assert code == "invalid_credentials"
    assert "Integrations > API" in text
    for shown in (text, caplog.text):
        assert "mistyped-private" not in shown
        assert ALICE[0] not in shown


@pytest.mark.requirement("instrumentl:error-codes")
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (402, "plan_required"),
        (403, "forbidden"),
        (429, "rate_limited"),
        (500, "upstream_unavailable"),
        ("not_json", "upstream_unavailable"),
        ("wrong_shape", "upstream_unavailable"),
        ("redirect", "upstream_unavailable"),
        ("huge", "upstream_unavailable"),
    ],
)
async def test_each_fault_has_its_code(service: Service, tool: str, kind: FaultKind, code: str) -> None:
    service.fake.fail(kind)
    async with service.as_user() as client:
        result = await client.call_tool(tool, TOOLS[tool])
    if (tool, kind) == ("get_grants", 403):
        assert payload_of(result)["unresolved"] == [{"grant_id": "11", "reason": "forbidden"}]
        return
    seen, text = failure_of(result)
    assert seen == code
    assert UPSTREAM_TEXT not in text
    assert "http" not in text.replace("HTTP", "")


async def test_the_plan_message_says_which_plans(service: Service) -> None:
    service.fake.fail(402)
    async with service.as_user() as client:
        _, text = failure_of(await client.call_tool("check_connection", {}))
    assert "Full Lifecycle, Enterprise, University" in text


async def test_retry_after_is_passed_on(service: Service) -> None:
    service.fake.fail(429, retry_after="30")
    async with service.as_user() as client:
        _, text = failure_of(await client.call_tool("list_projects", {}))
    assert "retry_after_seconds: 30" in text
    assert len(service.fake.requests) == 1


async def test_a_short_429_is_waited_out(service: Service) -> None:
    service.fake.fail(429, times=1)
    async with service.as_user() as client:
        payload_of(await client.call_tool("list_projects", {}))
    assert len(service.fake.requests) == 2


@pytest.mark.requirement("instrumentl:deadline")
async def test_a_hanging_upstream_ends_in_a_timeout() -> None:
    policy = Policy(rate_per_s=1000, burst=1000, deadline_s=0.3, attempt_timeout_s=0.2, attempts=2, backoff_base_s=0.01)
    async with running_service(policy=policy) as service:
        service.fake.fail("hang")
        async with asyncio.timeout(10), service.as_user() as client:
            code, _ = failure_of(await client.call_tool("list_saved_grants", {}))
    assert code == "timeout"


async def test_a_fault_halfway_gives_what_was_read_and_says_so(service: Service) -> None:
    service.fake.fail(500, path="/v1/grants")
    async with service.as_user() as client:
        payload = payload_of(await client.call_tool("list_saved_grants", {}))
    assert payload["total"] == 5
    assert "Not all details could be read (upstream_unavailable)" in str(payload["notices"])


async def test_one_lost_grant_leaves_the_others(service: Service) -> None:
    service.fake.fail(500, path="/v1/grants/12")
    async with service.as_user() as client:
        payload = payload_of(await client.call_tool("get_grants", {"grant_ids": ["11", "12"]}))
    assert payload["returned"] == 1
    assert "upstream_unavailable" in str(payload["unresolved"])


@pytest.mark.requirement("instrumentl:isolation")
async def test_two_users_at_once_see_only_their_own(service: Service) -> None:
    async def everything(key: tuple[str, str]) -> str:
        async with service.as_user(key) as client:
            results = await asyncio.gather(*(client.call_tool(tool, TOOLS[tool]) for tool in TOOLS))
            again = await asyncio.gather(*(client.call_tool(tool, TOOLS[tool]) for tool in TOOLS))
        return "\n".join(str(payload_of(result)) for result in (*results, *again))

    alice, bob = await asyncio.gather(everything(ALICE), everything(BOB))
    assert "Hunger Relief" in alice
    assert "Food & farms" in alice
    assert "Bob" not in alice
    assert "Bridges" not in alice
    assert "Bob's bridge" in bob
    assert "Bridges and Food" in bob
    assert "Hunger" not in bob
    assert "Alice" not in bob


async def test_after_the_right_key_a_wrong_one_of_the_same_id_sees_nothing(service: Service) -> None:
    async with service.as_user() as client:
        payload_of(await client.call_tool("list_projects", {}))
    async with service.as_user((ALICE[0], BOB[1])) as client:
        assert failure_of(await client.call_tool("list_projects", {}))[0] == "invalid_credentials"


@pytest.mark.requirement("instrumentl:single-user-environment")
async def test_the_environment_serves_a_single_user_only_without_headers(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPEN_PERSONA_INSTRUMENTL_API_KEY_ID", ALICE[0])
    monkeypatch.setenv("OPEN_PERSONA_INSTRUMENTL_API_PRIVATE_KEY", ALICE[1])
    async with service.as_user(None) as client:
        assert "Alice Aid" in str(payload_of(await client.call_tool("check_connection", {})))
    half = settings_headers(BOB[0], "")
    async with connected(service.url, headers=half) as client:
        code, text = failure_of(await client.call_tool("check_connection", {}))
    assert code == "missing_credentials"
    assert "“API private key” is not set" in text


async def test_nothing_but_gets_is_ever_sent(service: Service) -> None:
    async with service.as_user() as client:
        for tool, arguments in TOOLS.items():
            await client.call_tool(tool, arguments)
    assert {seen.method for seen in service.fake.requests} == {"GET"}
    assert service.fake.most_in_flight <= 2
