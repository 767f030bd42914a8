from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_servers.grants_gov.codes import Code, Vocabulary, agency_filter, table
from mcp_servers.grants_gov.echo import contradicted, not_applied, unconfirmed
from mcp_servers.grants_gov.query import KEYS, Asked, Filters, SearchBody, build_body, read_filters
from mcp_servers.kit.errors import InvalidArgument

WORDS = st.text(max_size=25) | st.sampled_from(["posted", "HHS", "12", "99", "HL", "G", "93.224", "1", "relevance"])
LISTS = st.lists(WORDS, max_size=4)


def mixed(topic: Any) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(list(table(topic))), max_size=4) | LISTS


ASKED = st.builds(
    Asked,
    keyword=st.none() | WORDS,
    statuses=mixed("statuses"),
    agencies=st.lists(st.sampled_from(["HHS", "hhs-nih11", "DOT-FTA - TPM", "NSF"]), max_size=3) | LISTS,
    eligibilities=mixed("eligibilities"),
    include_unrestricted=st.booleans(),
    funding_categories=mixed("funding_categories"),
    funding_instruments=mixed("funding_instruments"),
    assistance_listing=st.none() | WORDS,
    opportunity_number=st.none() | WORDS,
    posted_within_days=st.none() | st.integers(1, 3650),
    closing_within_days=st.none() | st.integers(0, 365),
    sort=st.none() | st.sampled_from(list(table("sorts"))) | WORDS,
)

_SET_BY = {
    "keyword": "keyword",
    "agencies": "agencies",
    "eligibilities": "eligibilities",
    "funding_categories": "fundingCategories",
    "funding_instruments": "fundingInstruments",
    "assistance_listing": "cfda",
    "opportunity_number": "oppNum",
    "posted_within_days": "dateRange",
}


@pytest.mark.requirement("grants_gov:never-wider")
@settings(deadline=None)
@given(ASKED, st.integers(1, 500), st.integers(0, 5000))
def test_a_body_has_only_known_keys_and_no_filter_is_lost(asked: Asked, rows: int, start: int) -> None:
    try:
        body = build_body(read_filters(asked), rows=rows, start=start)
    except InvalidArgument:
        return
    assert set(body) <= set(KEYS)
    assert (body["rows"], body["startRecordNum"]) == (rows, start)
    assert all(isinstance(body[key], str) and body[key] for key in body if key not in ("rows", "startRecordNum"))  # type: ignore[literal-required]
    for name, key in _SET_BY.items():
        value = getattr(asked, name)
        if value and (not isinstance(value, str) or value.strip()):
            assert key in body
        elif not value:
            assert key not in body
    assert set(body["oppStatuses"].split("|")) <= set(table("statuses"))


@settings(deadline=None)
@given(ASKED)
def test_every_value_sent_is_one_that_was_asked_for(asked: Asked) -> None:
    try:
        body = build_body(read_filters(asked), rows=1)
    except InvalidArgument:
        return
    given_codes = {value.strip().zfill(2) for value in asked.eligibilities}
    sent = set(body["eligibilities"].split("|")) if "eligibilities" in body else set()
    assert sent - given_codes <= ({"99"} if asked.include_unrestricted else set())
    assert sent <= set(table("eligibilities"))
    if "fundingCategories" in body:
        assert set(body["fundingCategories"].split("|")) == {
            value.strip().upper() for value in asked.funding_categories
        }
    if "oppNum" in body:
        assert body["oppNum"].startswith('"')
        assert body["oppNum"].endswith('"')
        assert body["oppNum"].count('"') == 2
    if "agencies" in body:
        assert all("*" not in part or part.endswith("-*") for part in body["agencies"].split("|"))


@settings(deadline=None)
@given(ASKED)
def test_the_echo_of_what_was_sent_passes_the_guard(asked: Asked) -> None:
    try:
        body = build_body(read_filters(asked), rows=1)
    except InvalidArgument:
        return
    assert not_applied(body, dict(body)) == ()
    assert unconfirmed(body, dict(body)) == ()
    for key in body:
        if key not in ("rows", "startRecordNum"):
            assert key in not_applied(body, {**body, key: None})
            assert key in not_applied(body, {**body, key: ""})


@pytest.mark.parametrize("echoed", ['\\"HRSA-27-005\\"', "%22HRSA-27-005%22", "&quot;HRSA-27-005&quot;", "hrsa-27-005"])
def test_another_encoding_in_the_echo_is_no_difference(echoed: str) -> None:
    body: SearchBody = {"oppNum": '"HRSA-27-005"', "oppStatuses": "posted|closed", "fundingInstruments": "G"}

    assert not_applied(body, {"oppNum": echoed, "oppStatuses": "closed|posted", "fundingIntruments": "G"}) == ()


def test_a_misspelt_or_rewritten_echo_leaves_a_filter_open() -> None:
    body: SearchBody = {"fundingInstruments": "G", "keyword": "rural"}

    assert not_applied(body, {"fundingIntruments": "", "keyword": "+rural +encoded"}) == ()
    assert unconfirmed(body, {"fundingIntruments": "", "keyword": "+rural +encoded"}) == (
        "keyword",
        "fundingInstruments",
    )
    assert not_applied(body, {"fundingIntruments": "CA", "keyword": ""}) == ("keyword", "fundingInstruments")


def test_a_page_that_starts_elsewhere_is_noticed() -> None:
    assert not_applied({"startRecordNum": 25, "rows": 25}, {"startRecordNum": 0}) == ("startRecordNum",)


def test_a_hit_without_an_assistance_listing_contradicts_nothing() -> None:
    assert contradicted({"cfda": "93.224", "oppStatuses": "posted"}, [{"oppStatus": "posted", "cfdaList": []}]) == ()


def test_agencies_with_spaces_are_quoted_and_their_children_named() -> None:
    codes = ["DOT", "DOT-FTA", "DOT-FTA - TPM", "DOT-FAA-FAA COE", "DOT-FAA-FAA COE-AJFE", "USDA-FS", "USDA-FSA"]
    known = Vocabulary({"agencies": tuple(Code(code, code) for code in codes)})

    assert agency_filter(["HHS"]) == "HHS|HHS-*"
    assert agency_filter(["USDA-FS"], known) == "USDA-FS|USDA-FS-*"
    assert agency_filter(["DOT-FTA"], known) == 'DOT-FTA|DOT-FTA-*|"DOT-FTA - TPM"'
    assert agency_filter(["DOT-FAA-FAA COE"], known) == '"DOT-FAA-FAA COE"|"DOT-FAA-FAA COE-AJFE"'


def test_what_was_applied_is_reported_by_the_names_of_the_arguments() -> None:
    filters = read_filters(Asked(keyword="food", eligibilities=["12"], closing_within_days=10))

    assert filters.used(date(2026, 9, 24)) == {
        "keyword": "food",
        "statuses": ["posted"],
        "eligibilities": ["12", "99"],
        "closing_within_days": 10,
        "closing_until": "2026-10-04",
        "sort": "close_date_asc",
    }


def test_defaults_are_open_opportunities_newest_first() -> None:
    assert read_filters(Asked()) == Filters(statuses=("forecasted", "posted"), sort="open_date_desc")
    assert read_filters(Asked(keyword="food")).sort == "relevance"
    assert "sortBy" not in build_body(read_filters(Asked(keyword="food")), rows=1)
    assert read_filters(Asked(sort="closeDate|desc")).sort == "close_date_desc"
    assert read_filters(Asked(sort="oppNum|asc")).sort == "number_asc"
