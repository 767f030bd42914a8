"""Dates as Grants.gov writes them, and what a close date means.

Grants.gov publishes days of US Eastern Time. A close date 25 years ahead or more (``01/01/2099``, or the posting
day plus 50 years) stands for "accepted anytime"; real long-running announcements end within 20 years (observed
2026-09-24). Forms seen: ``10/19/2026``, ``2026-10-19-00-00-00``, ``2026-10-19``, ``Oct 19, 2026 12:00:00 AM EDT``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DeadlineKind = Literal["fixed", "none_listed", "placeholder"]

PLACEHOLDER_YEARS = 25
ACCEPTED_ANYTIME = "accepted anytime (the listed date is a stand-in, not a deadline)"
NONE_LISTED = "no close date listed"
PASSED = "this day has passed"

_SLASHED = re.compile(r"^(\d{2})/(\d{2})/(\d{4})$")
_DASHED = re.compile(r"^(\d{4})-(\d{2})-(\d{2})(?:$|[-T ])")
_NAMED = re.compile(r"^([A-Z][a-z]{2}) (\d{1,2}), (\d{4})(?:$| )")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Deadline:
    """A close date read for what it means: ``close_date`` and ``days`` are set only when ``kind`` is ``fixed``.

    ``days`` counts from today (US Eastern) and is negative for a day that has passed.
    """

    kind: DeadlineKind
    close_date: date | None = None
    days: int | None = None

    @property
    def note(self) -> str | None:
        """What to say instead of a date or with a day that has passed, else null."""
        if self.kind == "fixed":
            return PASSED if self.days is not None and self.days < 0 else None
        return NONE_LISTED if self.kind == "none_listed" else ACCEPTED_ANYTIME


def eastern_today(now: datetime) -> date:
    """The day in US Eastern Time at ``now`` (aware)."""
    return now.astimezone(_eastern()).date()


def parse_date(value: object) -> date | None:
    """The day that ``value`` names in any of the forms above; None for anything else."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    if match := _SLASHED.match(text):
        month, day, year = map(int, match.groups())
    elif match := _DASHED.match(text):
        year, month, day = map(int, match.groups())
    elif (match := _NAMED.match(text)) and match[1] in _MONTHS:
        month, day, year = _MONTHS.index(match[1]) + 1, int(match[2]), int(match[3])
    else:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None


def is_placeholder(day: date, today: date) -> bool:
    """Whether a listed day is too far ahead to be a deadline."""
    return day.year >= today.year + PLACEHOLDER_YEARS


def real_date(value: object, today: date) -> date | None:
    """The day that ``value`` names, None also for a stand-in."""
    day = parse_date(value)
    return None if day is None or is_placeholder(day, today) else day


def deadline(value: object, today: date) -> Deadline:
    """What a listed close date means on the day ``today``."""
    day = parse_date(value)
    if day is None:
        return Deadline("none_listed")
    if is_placeholder(day, today):
        return Deadline("placeholder")
    return Deadline("fixed", day, (day - today).days)


def iso(day: date | None) -> str | None:
    """``YYYY-MM-DD``, or None."""
    return None if day is None else day.isoformat()


def _eastern() -> tzinfo:
    try:
        return ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:  # an image without time zone data: an hour off in summer beats no answer
        return timezone(timedelta(hours=-5))
