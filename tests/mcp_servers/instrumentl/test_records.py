"""Reading Instrumentl's objects: whatever comes, nothing breaks and nothing is made up."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from mcp_servers.instrumentl import items, records
from mcp_servers.instrumentl.search import search, terms_of
from mcp_servers.kit.results import compact_json

TODAY = date(2026, 11, 23)

FIELDS = [
    *("id", "name", "slug", "overview", "funder", "status", "rolling", "is_custom", "next_deadline_date"),
    *("funding_cycles", "categories", "grant_id", "project_id", "grant", "project", "project_title"),
    *("archived", "archived_at", "is_active", "extra"),
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
any_row = json_values | st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=12)


@pytest.mark.requirement("instrumentl:tolerant-reading")
@given(any_row)
def test_any_row_becomes_a_record_or_nothing(row: JsonValue) -> None:
    records.project(row)
    records.saved_grant(row, asked_project=None)
    grant = records.grant(row)
    if grant is not None:
        compact_json(items.record_item(grant, TODAY, detailed=True))
        search([grant], ("food",))


@pytest.mark.parametrize(
    ("given_date", "rolling", "deadline", "kind"),
    [
        ("2026-12-01", False, date(2026, 12, 1), "fixed"),
        ("2026-12-01T23:59:00Z", None, date(2026, 12, 1), "fixed"),
        ("2026-12-01", True, date(2026, 12, 1), "rolling"),
        (None, True, None, "rolling"),
        ("soon", False, None, "none_listed"),
        ("", None, None, "none_listed"),
        (20261201, None, None, "none_listed"),
    ],
)
def test_deadlines(given_date: JsonValue, rolling: bool | None, deadline: date | None, kind: str) -> None:
    grant = records.grant({"id": 1, "next_deadline_date": given_date, "rolling": rolling})
    assert grant is not None
    assert (grant.next_deadline, grant.deadline_kind) == (deadline, kind)


@pytest.mark.parametrize(
    ("row", "active"),
    [
        ({"is_active": False}, False),
        ({"archived": True}, False),
        ({"archived_at": "2025-01-01"}, False),
        ({"archived_at": None}, True),
        ({"status": "Archived"}, False),
        ({"status": "active"}, True),
        ({"is_active": True}, True),
        ({}, None),
    ],
)
def test_whether_a_project_is_active(row: dict[str, JsonValue], active: bool | None) -> None:
    project = records.project({"id": 1, **row})
    assert project is not None
    assert project.active is active


def test_a_slug_that_is_no_path_part_gives_no_link() -> None:
    for slug in ("../../evil", "a b", "x?y", "https://evil.example", ""):
        grant = records.grant({"id": 1, "slug": slug})
        assert grant is not None
        assert grant.url is None


def test_a_saved_grant_names_its_project_in_either_form() -> None:
    flat = records.saved_grant({"id": 1, "grant_id": 2, "project_id": 3}, asked_project="9")
    nested = records.saved_grant({"id": 1, "grant": {"id": 2}, "project": {"id": 3}}, asked_project=None)
    bare = records.saved_grant({"id": "1", "grant_id": "2"}, asked_project="9")
    assert flat == nested == records.SavedGrant("1", "2", "3", None)
    assert bare is not None
    assert bare.project_id == "9"


def test_filler_words_do_not_count_unless_they_are_all() -> None:
    assert terms_of("Which grants fund food for the Farms?") == ("food", "farms")
    assert terms_of("the grants") == ("the", "grants")
