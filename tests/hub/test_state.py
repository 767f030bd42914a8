"""The state machine, without any server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hub.probe import Observation
from hub.state import Standing, next_delay_s, step, with_change_noted
from hub.tools import Tool
from hub.wire import ProbeResult
from tests.hub.servers import manifest_at

START = datetime(2026, 1, 1, tzinfo=UTC)
THREE = manifest_at("http://x", pin=False, probe={"failures_before_down": 3, "successes_before_up": 2})


def good(second: int = 0, print_: str = "f1", name: str = "echo") -> Observation:
    at = START + timedelta(seconds=second)
    result = ProbeResult(name="demo", at=at, ok=True, stage="done", latency_ms=5, tools={name: print_})
    return Observation(result, (Tool(name, print_),))


def bad(second: int = 0) -> Observation:
    at = START + timedelta(seconds=second)
    return Observation(
        ProbeResult(name="demo", at=at, ok=False, reason="refused", detail="d", action="a", stage="tcp", latency_ms=1)
    )


def walk(*seen: Observation, start: Standing | None = None) -> list[str]:
    standing, healths = start or Standing(), list[str]()
    for one in seen:
        standing = step(standing, one, THREE)
        healths.append(standing.health)
    return healths


@pytest.mark.requirement("hub:state-thresholds")
def test_a_healthy_one_is_degraded_until_the_threshold() -> None:
    assert walk(good(), bad(), bad(), bad(), bad()) == ["healthy", "degraded", "degraded", "down", "down"]


@pytest.mark.requirement("hub:state-thresholds")
def test_one_that_never_answered_is_starting_until_the_threshold() -> None:
    assert walk(bad(), bad(), bad()) == ["starting", "starting", "down"]


@pytest.mark.requirement("hub:state-thresholds")
def test_one_that_was_down_is_up_after_enough_good_checks_in_a_row() -> None:
    down = Standing(health="down", failures=3)
    assert walk(good(), bad(), good(), good(), start=down) == ["down", "down", "down", "healthy"]


def test_a_good_check_in_between_starts_the_count_anew() -> None:
    assert walk(good(), bad(), bad(), good(), bad(), bad()) == [
        "healthy", "degraded", "degraded", "healthy", "degraded", "degraded"
    ]  # fmt: skip


def test_other_tools_than_stated_are_degraded_and_never_down() -> None:
    assert walk(*[good(name="other")] * 5) == ["degraded"] * 5


def test_a_reason_stands_whenever_it_is_not_healthy_and_only_then() -> None:
    standing = step(Standing(), good(), THREE)
    assert (standing.reason, standing.action) == (None, "")
    standing = step(standing, bad(), THREE)
    assert (standing.reason, standing.detail, standing.action) == ("refused", "d", "a")
    standing = step(step(step(standing, bad(), THREE), bad(), THREE), good(), THREE)
    assert (standing.health, standing.reason) == ("down", "refused")
    assert "1 more good check" in standing.action


def test_times_of_the_last_answer_and_of_the_last_change() -> None:
    standing = step(step(step(Standing(), good(1), THREE), good(2), THREE), bad(3), THREE)
    assert standing.last_ok_at == START + timedelta(seconds=2)
    assert standing.last_change_at == START + timedelta(seconds=3)
    assert standing.tools == (Tool("echo", "f1"),)


@pytest.mark.requirement("hub:tools-changed")
def test_changed_definitions_are_noted_once_and_stay_usable() -> None:
    before = step(Standing(), good(1), THREE)
    seen = with_change_noted(before, good(2, "f2"), THREE)
    after = step(before, seen, THREE)
    assert (seen.result.ok, seen.result.reason, after.health) == (True, "tools_changed", "healthy")
    assert (after.changed_tools, after.tools_changed_at) == (("echo",), START + timedelta(seconds=2))
    again = with_change_noted(after, good(3, "f2"), THREE)
    assert again.result.reason is None
    assert step(after, again, THREE).tools_changed_at == START + timedelta(seconds=2)


def test_the_first_list_and_a_failed_check_change_nothing() -> None:
    manifest = manifest_at("http://x")
    assert with_change_noted(Standing(), good(), manifest).result.reason is None
    assert with_change_noted(step(Standing(), good(), THREE), bad(), manifest).result.reason == "refused"


def test_a_failing_one_is_asked_sooner_and_never_slower_than_its_interval() -> None:
    delays = [next_delay_s(Standing(failures=count), 30) for count in range(6)]
    assert delays == [30, 1, 2, 4, 5, 5]
    assert next_delay_s(Standing(failures=9), 0.5) == 0.5
    assert next_delay_s(Standing(health="down"), 30) == 1
