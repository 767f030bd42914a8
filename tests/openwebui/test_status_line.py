"""How an integration is, in one line that touches no other."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hub.wire import Reason
from openwebui.catalog import Integration
from openwebui.status_line import GONE, LONGEST, MARK, REASONS, UNKNOWN, described, line_for, line_of, without_line

LINES = st.sampled_from([f"{MARK}healthy", f"{MARK}down: it refuses connections. Start it.", GONE, UNKNOWN])


def integration(health: str, reason: str = "", action: str = "", *, disabled: bool = False) -> Integration:
    return Integration("any", "Any", health=health, reason=reason, action=action, disabled=disabled)


@pytest.mark.requirement("seed:health_line")
@given(st.text(), LINES, LINES)
@example("One line.\n— Status: healthy\nAnother.", GONE, UNKNOWN)
def test_only_the_last_line_changes(text: str, first: str, second: str) -> None:
    once = described(text, first)
    twice = described(once, second)
    assert twice.split("\n")[-1] == second
    assert without_line(twice) == without_line(text)
    assert described(twice, second) == twice
    assert line_of(twice) == second


@pytest.mark.requirement("seed:health_line")
@pytest.mark.parametrize(
    ("held", "kept"),
    [
        ("Text.", "Text."),
        (f"Text.\n\n{MARK}healthy", f"Text.\n\n{MARK}healthy"),
        (f"Text.\n\n{GONE}", "Text."),
        (f"Text.\n\n{UNKNOWN}", "Text."),
    ],
)
def test_until_the_first_check_a_line_stays_unless_it_is_no_longer_true(held: str, kept: str) -> None:
    assert described(held, line_for(integration("starting"))) == kept


@pytest.mark.requirement("seed:health_line")
def test_a_line_says_what_is_wrong_and_what_to_do() -> None:
    assert line_for(integration("healthy")) == f"{MARK}healthy"
    down = integration("down", "refused", "Start the\n integrations.")
    assert line_for(down) == f"{MARK}down: it refuses connections. Start the integrations."
    assert line_for(integration("healthy", disabled=True)) == f"{MARK}disabled by the operator."


@given(st.text(), st.text())
def test_a_line_is_one_line_of_bounded_length(reason: str, action: str) -> None:
    line = line_for(integration("down", reason, action))
    assert line is not None and len(line) <= LONGEST and len(line.splitlines()) == 1


def test_every_reason_of_the_hub_has_words() -> None:
    assert set(REASONS) == set(get_args(Reason)) - {"disabled"}
