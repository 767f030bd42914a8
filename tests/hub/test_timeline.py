"""Uptime and bars from stretches of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hub.timeline import MAX_STRETCHES, Timeline

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_nothing_observed_has_no_uptime() -> None:
    timeline = Timeline(100)
    assert timeline.uptime(NOW) is None
    assert {bar.health for bar in timeline.bars(NOW)} == {None}


def test_a_single_check_says_what_it_saw() -> None:
    timeline = Timeline(100)
    timeline.add(at(10), False, "down")
    assert timeline.uptime(NOW) == 0.0


def test_uptime_goes_by_time_not_by_number_of_checks() -> None:
    timeline = Timeline(100)
    for second in range(1000, 500, -50):
        timeline.add(at(second), True, "healthy")
    for second in range(500, 0, -5):
        timeline.add(at(second), False, "down")
    uptime = timeline.uptime(NOW)
    assert uptime is not None
    assert abs(uptime - 0.5) < 0.01


def test_time_in_which_nobody_looked_counts_for_nothing() -> None:
    timeline = Timeline(100)
    for second in (5000, 4950, 90, 40):
        timeline.add(at(second), second != 90, "healthy" if second != 90 else "down")
    assert timeline.uptime(NOW) == 0.5


def test_starting_is_neither_good_nor_bad() -> None:
    timeline = Timeline(100)
    for second in (50, 49, 47):
        timeline.add(at(second), False, "starting")
    assert timeline.uptime(NOW) is None
    timeline.add(at(45), True, "healthy")
    assert timeline.uptime(NOW) == 1.0


def test_only_the_last_24_hours_count() -> None:
    timeline = Timeline(90_000)
    timeline.add(at(30 * 3600), False, "down")
    timeline.add(at(25 * 3600), True, "healthy")
    timeline.add(at(60), True, "healthy")
    assert timeline.uptime(NOW) == 1.0


def test_a_bar_shows_the_worst_of_its_slice() -> None:
    timeline = Timeline(100)
    for second, ok in ((80, True), (60, False), (40, True), (0, True)):
        timeline.add(at(second), ok, "healthy" if ok else "degraded")
    bars = timeline.bars(NOW)
    assert len(bars) == 48
    assert [bar.health for bar in bars[-2:]] == [None, "degraded"]


def test_a_flapping_one_stays_bounded() -> None:
    timeline = Timeline(100)
    for count in range(3 * MAX_STRETCHES):
        timeline.add(at(10_000 - count), count % 2 == 0, "healthy" if count % 2 == 0 else "degraded")
    assert len(timeline._stretches) == MAX_STRETCHES
