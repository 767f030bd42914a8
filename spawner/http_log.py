"""aiohttp's log of requests that failed, without what was in them: it would quote the bytes that it could not read."""

from __future__ import annotations

import logging
import traceback
from typing import Final

from aiohttp.http_exceptions import HttpProcessingError

LOG: Final = logging.getLogger("spawner.http")


def without_excerpts(record: logging.LogRecord) -> bool:
    """A filter that rewrites a record: one line that names the kind of error, and where it was raised."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.msg, record.levelno, record.levelname = "refused a request that is not HTTP (400)", 30, "WARNING"
    elif error is not None:
        places = ", ".join(f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__))
        record.msg = f"a request failed with {type(error).__name__} at {places}"
    record.args, record.exc_info, record.exc_text = (), None, None
    return True


LOG.addFilter(without_excerpts)
