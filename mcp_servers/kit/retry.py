"""How long to wait before an upstream is asked again."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def backoff_s(attempt: int, *, base: float, longest: float) -> float:
    """Seconds after the ``attempt``-th failure (from 1): ``base`` doubled each time, with jitter of half of it."""
    full = min(longest, base * 2.0 ** (attempt - 1))
    return full * (0.5 + random.random() / 2)  # noqa: S311 (spreads load, guards nothing)


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Seconds that a ``Retry-After`` header asks for (a number or a date, RFC 9110); None if it says nothing."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
