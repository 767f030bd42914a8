"""The real server of nonprofits over HTTP, in front of a fake upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import Client

from mcp_servers.kit.upstream import Policy
from mcp_servers.nonprofits.server import INTEGRATION, build_app
from tests.fakes.asgi_server import serve_app
from tests.fakes.nonprofits import FOUNDATION, GONE, RED_CROSS, TINY, UPSTREAM_TEXT, Fake, filing, hit, running_fake
from tests.mcp_servers.mcp_session import ERAS, connected, failure_of, payload_of

QUICK = Policy(
    rate_per_s=1000,
    burst=1000,
    deadline_s=3,
    attempt_timeout_s=0.5,
    attempts=2,
    backoff_base_s=0.01,
    backoff_max_s=0.02,
)


class Server:
    """A client of the server under test, and its upstream."""

    def __init__(self, client: Client, fake: Fake) -> None:
        self.client = client
        self.fake = fake

    async def gives(self, tool: str, **arguments: object) -> dict[str, Any]:
        return payload_of(await self.client.call_tool(tool, arguments))

    async def fails(self, tool: str, **arguments: object) -> tuple[str, str]:
        return failure_of(await self.client.call_tool(tool, arguments))


@asynccontextmanager
async def running(mode: str = "auto") -> AsyncIterator[Server]:
    async with (
        running_fake() as fake,
        serve_app(build_app(base_url=fake.url, policy=QUICK)) as url,
        connected(url, mode=mode) as client,
    ):
        yield Server(client, fake)


@pytest.mark.parametrize("mode", ERAS)
async def test_it_lists_what_the_manifest_states(mode: str) -> None:
    async with running(mode) as server:
        listed = await server.client.list_tools()
    assert {tool.name for tool in listed.tools} == set(INTEGRATION.tools)


@pytest.mark.requirement("nonprofits:search")
async def test_a_search_gives_each_hit_once_across_the_pages_of_the_api() -> None:
    async with running() as server:
        names: list[str] = []
        cursor = None
        for _ in range(10):
            payload = await server.gives("search_nonprofits", words="charity", limit=10, cursor=cursor)
            names += [item["name"] for item in payload["items"]]
            cursor = payload["next_cursor"]
            if not payload["has_more"]:
                break
    assert names == [f"Charity {number}" for number in range(60)]
    assert payload["total"] == 60


@pytest.mark.requirement("nonprofits:search")
async def test_filters_are_sent_as_the_api_wants_them() -> None:
    async with running() as server:
        server.fake.hits += [hit(900, "Far away", "NY")]
        payload = await server.gives(
            "search_nonprofits", words='+charity -"red cross"', state="ny", group="health", subsection=3
        )
    ((path, query),) = server.fake.asked
    assert path == "/search.json"
    assert query == {
        "q": '+charity -"red cross"',
        "page": "0",
        "state[id]": "NY",
        "ntee[id]": "4",
        "c_code[id]": "3",
    }
    (item,) = payload["items"]
    assert (item["ein"], item["state"]) == ("00-0000900", "NY")
    assert payload["query_used"]["group"] == "health"


async def test_a_search_that_hits_the_apis_cap_says_so() -> None:
    async with running() as server:
        server.fake.total = 250_000
        payload = await server.gives("search_nonprofits", words="charity")
    assert payload["total"] == 10_000
    assert any("narrow them" in notice for notice in payload["notices"])


async def test_a_page_behind_the_end_ends_the_listing() -> None:
    async with running() as server:
        server.fake.total = 30
        first = await server.gives("search_nonprofits", words="charity", limit=25)
        server.fake.hits = server.fake.hits[:25]
        second = await server.gives("search_nonprofits", words="charity", limit=25, cursor=first["next_cursor"])
    assert (second["returned"], second["has_more"]) == (0, False)


@pytest.mark.parametrize("ein", ["53-0196605", "530196605", " 53-0196605 "])
async def test_an_organization_has_its_latest_figures_with_their_year(ein: str) -> None:
    async with running() as server:
        payload = await server.gives("get_nonprofit", ein=ein)
    (item,) = payload["items"]
    assert (item["ein"], item["name"]) == ("53-0196605", "American National Red Cross")
    latest = item["latest_filing"]
    assert (latest["tax_year"], latest["period_end"], latest["form"]) == (2022, "2022-12", "990")
    assert (latest["revenue"], latest["liabilities"], latest["net_assets"]) == (3_002_022, 0, None)
    assert item["filings"] == 13
    assert any("ProPublica" in notice for notice in payload["notices"])
    assert any("not in this source" in notice for notice in payload["notices"])


@pytest.mark.requirement("nonprofits:filings")
async def test_filings_come_newest_first_with_the_ones_that_are_only_scanned() -> None:
    async with running() as server:
        first = await server.gives("list_filings", ein="530196605")
        rest = await server.gives("list_filings", ein="530196605", years=30, cursor=first["next_cursor"])
    years = [item["tax_year"] for item in (*first["items"], *rest["items"])]
    assert years == [2022, 2021, 2020, 2019, 2018, 2018, 2017, 2016, 2015, 2014, 2013, 2012, 2011]
    assert first["total"] == 13
    scan = next(item for item in (*first["items"], *rest["items"]) if not item["has_figures"])
    assert (scan["form"], "revenue" in scan) == ("990", False)
    assert [path for path, _ in server.fake.asked] == [f"/organizations/{RED_CROSS}.json"]  # read once, then cached


async def test_a_foundations_form_has_its_own_field_and_leading_zeros() -> None:
    async with running() as server:
        payload = await server.gives("list_filings", ein="04-2103594")
    assert server.fake.asked[0][0] == f"/organizations/{FOUNDATION}.json"
    (item,) = payload["items"]
    assert (item["form"], item["officer_pay"]) == ("990-PF", 42)


async def test_an_organization_without_filings_is_no_failure() -> None:
    async with running() as server:
        payload = await server.gives("get_nonprofit", ein=str(TINY))
    assert payload["items"][0]["latest_filing"] is None
    assert any("no filings here" in notice for notice in payload["notices"])


@pytest.mark.requirement("nonprofits:not-found")
@pytest.mark.parametrize("ein", ["999999999", str(GONE)])
@pytest.mark.parametrize("tool", ["get_nonprofit", "list_filings"])
async def test_an_ein_that_nobody_has(tool: str, ein: str) -> None:
    async with running() as server:
        code, text = await server.fails(tool, ein=ein)
    assert code == "not_found"
    assert "search_nonprofits" in text


@pytest.mark.parametrize("ein", ["", "abc", "0", "12345678901", "53/0196605", "../x"])
async def test_what_is_no_ein_is_never_sent(ein: str) -> None:
    async with running() as server:
        code, text = await server.fails("get_nonprofit", ein=ein)
    assert (code, server.fake.asked) == ("invalid_argument", [])
    assert "53-0196605" in text


@pytest.mark.parametrize(
    "arguments",
    [
        {"words": "x"},
        {"words": "red", "state": "New York"},
        {"words": "red", "group": "E"},
        {"words": "red", "limit": 26},
    ],
)
async def test_arguments_that_the_api_would_choke_on_are_never_sent(arguments: dict[str, object]) -> None:
    async with running() as server:
        code, _ = await server.fails("search_nonprofits", **arguments)
    assert (code, server.fake.asked) == ("invalid_argument", [])


@pytest.mark.requirement("nonprofits:failures")
@pytest.mark.parametrize(
    ("status", "code"),
    [(429, "rate_limited"), (500, "upstream_unavailable"), (403, "forbidden"), (400, "upstream_unavailable")],
)
@pytest.mark.parametrize("tool", ["search_nonprofits", "get_nonprofit"])
async def test_a_failing_api_is_told_in_our_words(tool: str, status: int, code: str) -> None:
    arguments = {"words": "red"} if tool == "search_nonprofits" else {"ein": "530196605"}
    async with running() as server:
        server.fake.status = status
        told, text = await server.fails(tool, **arguments)
    assert told == code
    assert UPSTREAM_TEXT not in text


@pytest.mark.requirement("nonprofits:failures")
async def test_a_page_of_html_that_passes_is_asked_for_again() -> None:
    async with running() as server:
        server.fake.status, server.fake.times = 500, 1
        payload = await server.gives("get_nonprofit", ein="530196605")
    assert payload["returned"] == 1
    assert len(server.fake.asked) == 2


@pytest.mark.requirement("nonprofits:failures")
@pytest.mark.parametrize("answer", [[], {}, {"organizations": None, "total_results": 3}, "text", {"organization": []}])
async def test_an_answer_of_another_shape_is_a_failure_and_no_empty_list(answer: object) -> None:
    async with running() as server:
        server.fake.answer = answer
        assert (await server.fails("search_nonprofits", words="red"))[0] == "upstream_unavailable"
        assert (await server.fails("get_nonprofit", ein="530196605"))[0] == "upstream_unavailable"


async def test_an_api_that_hangs_is_given_up() -> None:
    async with running() as server:
        server.fake.hang = True
        assert (await server.fails("get_nonprofit", ein="530196605"))[0] == "timeout"


@pytest.mark.requirement("nonprofits:sizes")
async def test_a_hundred_years_of_filings_fit_into_one_answer() -> None:
    async with running() as server:
        many = [filing(year, pdf_url="https://x/" + "y" * 2000) for year in range(2022, 1922, -1)]
        server.fake.answer = {"organization": {"id": 1, "ein": 1, "name": "Old"}, "filings_with_data": many}
        result = await server.client.call_tool("list_filings", {"ein": "1", "years": 30})
        payload = payload_of(result)
        rest = await server.gives("list_filings", ein="1", years=30, cursor=payload["next_cursor"])
    assert len(result.content[0].text.encode()) <= 24_000  # type: ignore[union-attr]
    assert payload["has_more"]
    assert rest["items"][0]["tax_year"] == payload["items"][-1]["tax_year"] - 1  # type: ignore[index,call-overload,operator]


@pytest.mark.requirement("scenarios:funder")
async def test_scenario_11_is_this_funder_active_and_how_big() -> None:
    async with running() as server:
        server.fake.hits = [hit(RED_CROSS, "American National Red Cross")]
        (found,) = (await server.gives("search_nonprofits", words="red cross"))["items"]
        one = await server.gives("get_nonprofit", ein=found["ein"])
        filings = (await server.gives("list_filings", ein=found["ein"], years=5))["items"]
    years = [item["tax_year"] for item in filings]
    assert years == sorted(years, reverse=True)
    assert 2 <= len(set(years)) <= 5
    assert all({"revenue", "expenses", "assets"} <= item.keys() for item in filings if item["has_figures"])
    assert all(item["pdf_url"] for item in filings if not item["has_figures"])
    assert any("not in this source" in notice for notice in one["notices"])
