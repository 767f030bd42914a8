from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_servers.grants_gov.dates import deadline, eastern_today, parse_date
from mcp_servers.grants_gov.records import amount, block_name, record
from mcp_servers.grants_gov.rows import row
from tests.fakes.grants_gov_records import HRSA, RECORDS, TODAY

LISTED = ["none", "0", "", "undefined", "10116100", "$1,500.50", "2026-10-19-00-00-00", "08/17/2076", "1" * 20]
SCALARS = st.none() | st.booleans() | st.integers(-10, 10**9) | st.text(max_size=20) | st.sampled_from(LISTED)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)


JSON = st.recursive(SCALARS, _containers, max_leaves=8)
MONEY = ("award_ceiling_usd", "award_floor_usd", "estimated_total_funding_usd", "expected_awards")


@st.composite
def mangled(draw: st.DrawFn) -> dict[str, Any]:
    """A recorded answer with some values replaced by anything, at the top and in its blocks."""
    data = json.loads(json.dumps(draw(st.sampled_from(RECORDS)).detail() | {"opportunityHistoryDetails": []}))
    for place in (data, data.get("synopsis"), data.get("forecast")):
        if isinstance(place, dict) and place:
            for key in draw(st.lists(st.sampled_from(sorted(place)), max_size=4)):
                place[key] = draw(JSON)
    return dict(data)


@pytest.mark.requirement("grants_gov:no-invented-numbers")
@settings(deadline=None)
@given(mangled())
def test_no_amount_is_ever_made_up(data: dict[str, Any]) -> None:
    item = record(data, TODAY)

    name = block_name(data)
    block = data[name] if name else {}
    listed = {re.sub(r"[$,]|\.0+$", "", str(value)).strip() for value in block.values() if isinstance(value, str | int)}
    for key in MONEY:
        value = item[key]
        assert value is None or (not isinstance(value, bool) and isinstance(value, int | float) and value >= 0)
        if isinstance(value, int):
            assert str(value) in {entry.lstrip("0") or "0" for entry in listed}
    json.dumps(item, allow_nan=False)


@settings(deadline=None)
@given(mangled())
def test_a_close_date_is_listed_real_and_of_the_block_in_force(data: dict[str, Any]) -> None:
    item = record(data, TODAY)

    name = block_name(data)
    key = "estApplicationResponseDateStr" if name == "forecast" else "responseDateStr"
    source = data[name].get(key) if name else None
    if item["deadline_kind"] == "fixed":
        assert item["close_date"] == parse_date(source).isoformat()  # type: ignore[union-attr]
        assert int(str(item["close_date"])[:4]) < TODAY.year + 25
    else:
        assert (item["close_date"], item["days_until_close"]) == (None, None)
    assert item["deadline_is_estimate"] is (name == "forecast")


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*HRSA.hit(), "agencyName", "alnist"]), JSON))
def test_any_hit_becomes_a_row(hit: dict[str, Any]) -> None:
    item = row(hit, TODAY)

    json.dumps(item, allow_nan=False)
    assert item["opportunity_id"] is None or str(item["opportunity_id"]).isdigit()


@pytest.mark.parametrize(
    ("listed", "read"),
    [
        ("10116100", 10116100),
        ("0", 0),
        (0, 0),
        ("$1,500,000", 1500000),
        ("1500.50", 1500.5),
        ("1500.00", 1500),
        ("none", None),
        ("", None),
        (None, None),
        (True, None),
        ("-5", None),
        (-5, None),
        ("1e9", None),
        ("NaN", None),
        ("about 500", None),
        ("1,00", None),
        ("١٢", None),
    ],
)
def test_amounts(listed: Any, read: float | None) -> None:
    assert amount(listed) == read


def test_the_other_block_is_never_read_when_the_named_one_is_missing() -> None:
    item = record({**HRSA.detail(), "synopsis": None}, TODAY)

    assert (item["award_ceiling_usd"], item["money_source"], item["description"]) == (None, None, None)


def test_without_a_document_type_the_block_that_is_there_counts() -> None:
    assert block_name({"forecast": {}, "synopsis": None}) == "forecast"
    assert block_name({"forecast": {}, "synopsis": {}}) == "synopsis"
    assert block_name({}) is None


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("10/19/2026", date(2026, 10, 19)),
        ("2026-10-19-00-00-00", date(2026, 10, 19)),
        ("2026-10-19", date(2026, 10, 19)),
        ("Oct 19, 2026 12:00:00 AM EDT", date(2026, 10, 19)),
        ("Mar 20, 2015", date(2015, 3, 20)),
        ("", None),
        ("02/30/2026", None),
        ("Foo 20, 2015", None),
        (None, None),
        (20261019, None),
    ],
)
def test_dates(text: object, day: date | None) -> None:
    assert parse_date(text) == day


def test_a_deadline_is_read_for_what_it_means() -> None:
    assert deadline("01/01/2099", TODAY).kind == "placeholder"
    assert deadline("09/30/2044", TODAY).kind == "fixed"
    assert deadline("", TODAY).kind == "none_listed"
    past = deadline("09/20/2026", TODAY)
    assert (past.days, past.note) == (-4, "this day has passed")


def test_today_is_the_day_in_washington() -> None:
    assert eastern_today(datetime(2026, 9, 25, 3, 0, tzinfo=UTC)) == date(2026, 9, 24)
    assert eastern_today(datetime(2026, 9, 25, 5, 0, tzinfo=UTC)) == date(2026, 9, 25)
