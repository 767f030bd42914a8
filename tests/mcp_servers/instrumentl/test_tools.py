"""What each tool promises, through a real client and a real server, against the recorded shapes."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from mcp_servers.instrumentl import client as instrumentl_client
from mcp_servers.instrumentl.server import INTEGRATION
from tests.fakes.instrumentl import ALICE, AccountData, alice, days_from_now, grant_row
from tests.mcp_servers.instrumentl.service import Service, running_service
from tests.mcp_servers.mcp_session import ERAS, failure_of, payload_of

Payload = dict[str, JsonValue]


async def call(service: Service, tool: str, /, **arguments: object) -> Payload:
    async with service.as_user() as client:
        return payload_of(await client.call_tool(tool, arguments))


def rows(payload: Payload) -> list[Payload]:
    items = payload["items"]
    assert isinstance(items, list)
    assert payload["returned"] == len(items)
    return [item for item in items if isinstance(item, dict)]


def column(payload: Payload, name: str) -> list[JsonValue]:
    return [row[name] for row in rows(payload)]


@pytest.mark.requirement("instrumentl:manifest-tools")
@pytest.mark.parametrize("era", ERAS)
async def test_the_server_lists_exactly_the_manifests_tools_as_read_only(service: Service, era: str) -> None:
    async with service.as_user(None, mode=era) as client:
        tools = (await client.list_tools()).tools
        assert set(client.server_capabilities.model_dump(exclude_none=True)) == {"tools"}
    assert {tool.name for tool in tools} == set(INTEGRATION.tools)
    assert set(INTEGRATION.tools.values()) == {"read"}
    for tool in tools:
        assert tool.annotations is not None
        hints = tool.annotations
        assert (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint) == (True, False, True)
        assert tool.title
        assert tool.description
        for argument in tool.input_schema["properties"].values():
            assert argument.get("description"), (tool.name, argument)


@pytest.mark.requirement("instrumentl:basic-auth")
@pytest.mark.parametrize("era", ERAS)
async def test_check_connection(service: Service, era: str) -> None:
    async with service.as_user(mode=era) as client:
        payload = payload_of(await client.call_tool("check_connection", {}))
    [item] = rows(payload)
    assert (item["ok"], item["organization_name"]) == (True, "Alice Aid")
    assert payload["source"] == "Instrumentl"
    assert service.fake.requests[0].authorization.startswith("Basic ")


async def test_check_connection_never_answers_from_the_cache(service: Service) -> None:
    for _ in range(2):
        payload = await call(service, "check_connection")
        assert payload["from_cache"] is False
    assert service.fake.paths() == ["/v1/accounts/current"] * 2


async def test_list_projects(service: Service) -> None:
    payload = await call(service, "list_projects")
    assert rows(payload) == [
        {"project_id": "1", "title": "Food & farms", "active": True},
        {"project_id": "3", "title": "Plain", "active": None},
    ]
    assert "archived" in str(payload["notices"])
    everything = await call(service, "list_projects", include_archived=True)
    assert column(everything, "active") == [True, False, None]


@pytest.mark.requirement("instrumentl:list-saved-grants")
async def test_list_saved_grants_joins_the_details(service: Service) -> None:
    payload = await call(service, "list_saved_grants")
    first, second, *rest = rows(payload)
    assert first == {
        "saved_grant_id": "501",
        "grant_id": "11",
        "name": "Hunger Relief",
        "funder_name": "Hunger Relief Foundation",
        "next_deadline": days_from_now(16),
        "days_left": 16,
        "deadline_kind": "fixed",
        "status": "researching",
        "url": "https://www.instrumentl.com/grants/grant-11",
        "project_id": "1",
    }
    assert (second["funder_name"], second["url"]) == ("Carnegie Friends", None)
    kinds = {row["grant_id"]: row["deadline_kind"] for row in rest}
    assert kinds == {"13": "rolling", "14": "none_listed", "99": None}
    assert "without details" in str(payload["notices"])
    assert payload["total"] == 5


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ({"project_id": "3"}, ["13", "99", "14"]),
        ({"status": "Planned"}, ["12"]),
        ({"deadline_within_days": 16}, ["11"]),
        ({"rolling": True}, ["13"]),
        ({"sort": "name", "rolling": False}, ["11", "12", "14"]),
        ({"status": "unheard"}, []),
    ],
)
async def test_list_saved_grants_filters(service: Service, arguments: dict[str, object], ids: list[str]) -> None:
    payload = await call(service, "list_saved_grants", **arguments)
    assert sorted(map(str, column(payload, "grant_id"))) == sorted(ids)
    used = payload["query_used"]
    assert isinstance(used, dict)
    assert arguments.items() <= used.items()


async def test_an_unknown_status_names_the_known_ones(service: Service) -> None:
    payload = await call(service, "list_saved_grants", status="unheard")
    assert "planned, researching, submitted" in str(payload["notices"])


async def test_detailed_adds_what_concise_leaves_out(service: Service) -> None:
    concise = rows(await call(service, "list_saved_grants"))[0]
    detailed = rows(await call(service, "list_saved_grants", response_format="detailed"))[0]
    assert set(detailed) - set(concise) == {"overview", "areas", "cycles", "is_custom", "funder_id"}
    assert detailed["overview"] == "Ends food insecurity in cities"


@pytest.mark.requirement("instrumentl:search-my-grants")
async def test_search_my_grants_says_what_it_searched(service: Service) -> None:
    payload = await call(service, "search_my_grants", query="Which fund food insecurity", geography="indiana")
    [found] = rows(payload)
    assert found["name"] == "Hunger Relief"
    assert found["matched_terms"] == ["food", "insecurity"]
    notices = str(payload["notices"])
    assert "Searched 6 grants available to this account, read at " in notices
    assert "2 of them name no area" in notices


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ({"query": "libraries"}, ["12"]),
        ({"query": "food"}, ["15", "11", "12", "13"]),
        ({"query": "food library"}, ["12"]),
        ({"query": "hunger zzz"}, ["11"]),
        ({"query": "zzz"}, []),
        ({"query": "food", "saved_only": True}, ["11", "12", "13"]),
        ({"query": "food", "project_id": "1"}, ["11", "12"]),
        ({"query": "food", "funder_id": "911"}, ["11"]),
        ({"query": "food", "rolling": True}, ["13"]),
    ],
)
async def test_search_my_grants_filters(service: Service, arguments: dict[str, object], ids: list[str]) -> None:
    payload = await call(service, "search_my_grants", **arguments)
    assert sorted(map(str, column(payload, "grant_id"))) == sorted(ids)


@pytest.mark.parametrize(("days", "ids"), [(17, ["11"]), (16, [])])
async def test_search_my_grants_by_deadline(service: Service, days: int, ids: list[str]) -> None:
    payload = await call(service, "search_my_grants", query="food", deadline_before=days_from_now(days))
    assert sorted(map(str, column(payload, "grant_id"))) == ids


async def test_search_says_when_no_grant_has_all_words(service: Service) -> None:
    payload = await call(service, "search_my_grants", query="hunger zzz")
    assert "No grant has all the words" in str(payload["notices"])


@pytest.mark.requirement("instrumentl:get-grants")
async def test_get_grants_reads_in_full_and_names_what_is_not_there(service: Service) -> None:
    payload = await call(service, "get_grants", grant_ids=["12", "404", "12", "16"], response_format="detailed")
    full, bare = rows(payload)
    assert full["other"] == {"award_note": "up to five"}
    assert full["overview"] == "Rural Libraries supports work & people."
    assert full["areas"] == ["Indiana", "Ohio"]
    assert (bare["name"], bare["next_deadline"], bare["deadline_kind"]) == ("Bare", None, "none_listed")
    assert payload["unresolved"] == [{"grant_id": "404", "reason": "not_found"}]
    assert "amounts are not in Instrumentl's API" in str(payload["notices"])


@pytest.mark.parametrize("ids", [[], ["1"] * 6, ["../projects"], ["a b"], [""]])
async def test_get_grants_refuses_bad_ids(service: Service, ids: list[str]) -> None:
    async with service.as_user() as client:
        code, text = failure_of(await client.call_tool("get_grants", {"grant_ids": ids}))
    assert code == "invalid_argument"
    assert "grant_ids" in text
    assert service.fake.requests == []


@pytest.mark.requirement("instrumentl:list-deadlines")
async def test_list_deadlines_by_date_with_rolling_apart(service: Service) -> None:
    payload = await call(service, "list_deadlines", days_ahead=30)
    first, second = rows(payload)
    assert first == {
        "date": days_from_now(16),
        "days_left": 16,
        "summary": "Deadline: Hunger Relief (Hunger Relief Foundation)",
        "uid": f"instrumentl-501-{days_from_now(16)}@open-persona",
        "grant_id": "11",
        "saved_grant_id": "501",
        "project_id": "1",
        "deadline_kind": "fixed",
        "status": "researching",
        "url": "https://www.instrumentl.com/grants/grant-11",
    }
    assert second["grant_id"] == "12"
    assert payload["rolling"] == [
        {"grant_id": "13", "name": "Always Open", "url": "https://www.instrumentl.com/grants/grant-13"}
    ]
    assert "1 saved grant(s) have no deadline listed" in str(payload["notices"])
    assert column(await call(service, "list_deadlines", days_ahead=16), "grant_id") == ["11"]
    assert rows(await call(service, "list_deadlines", project_id="3")) == []


def many(count: int) -> AccountData:
    data = alice()
    data.grants = [grant_row(key, f"Grant {key:04d}") for key in range(count)]
    data.saved_grants = [{"id": 5000 + key, "grant_id": key, "project_id": 1} for key in range(count)]
    return data


@pytest.mark.requirement("instrumentl:paging")
async def test_all_pages_are_read_and_the_cursor_walks_over_all_of_them_once() -> None:
    async with running_service(accounts={ALICE: many(120)}) as service:
        seen: list[JsonValue] = []
        cursor: JsonValue = None
        while True:
            more = {} if cursor is None else {"cursor": cursor}
            payload = await call(service, "list_saved_grants", limit=25, **more)
            seen += column(payload, "saved_grant_id")
            cursor = payload["next_cursor"]
            assert payload["total"] == 120
            if cursor is None:
                break
        assert len(seen) == len(set(seen)) == 120
        assert service.fake.paths().count("/v1/saved_grants") == 3
        assert payload["from_cache"] is True


async def test_a_cursor_of_another_query_is_refused() -> None:
    async with running_service(accounts={ALICE: many(60)}) as service:
        first = await call(service, "list_saved_grants", limit=5)
        async with service.as_user() as client:
            result = await client.call_tool("list_deadlines", {"cursor": first["next_cursor"]})
        assert failure_of(result)[0] == "invalid_argument"


@pytest.mark.requirement("instrumentl:repeating-cursor")
async def test_a_repeating_cursor_ends_the_reading_and_rows_count_once(service: Service) -> None:
    service.fake.repeat_cursor = True
    payload = await call(service, "list_projects", include_archived=True)
    assert column(payload, "project_id") == ["1", "2", "3"]
    assert service.fake.paths().count("/v1/projects") == 2
    assert payload["notices"] == []


async def test_a_very_large_account_is_read_in_part_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instrumentl_client, "MAX_PAGES", 2)
    async with running_service(accounts={ALICE: many(120)}) as service:
        payload = await call(service, "search_my_grants", query="Grant 0007")
        assert rows(payload)[0]["name"] == "Grant 0007"
        assert "Not complete: only the first 100 were read" in str(payload["notices"])


async def test_progress_tells_what_has_been_read() -> None:
    said: list[str | None] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        said.append(message)

    async with running_service(accounts={ALICE: many(60)}) as service, service.as_user() as client:
        await client.call_tool("search_my_grants", {"query": "grant"}, progress_callback=on_progress)
    assert said == ["Read 50 grants", "Read 60 grants"]
