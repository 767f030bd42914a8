"""What is asked of the reading process, what it answers, and the bounds that it puts on itself."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import signal
from dataclasses import asdict, dataclass, field
from types import FrameType
from typing import Literal

Reason = Literal["encrypted", "scanned", "broken", "too_big", "too_slow", "no_such_page"]

_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    r"\u202a-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff]"
)
"""What shows nothing. In tag characters and variation selectors a model can be told what no person sees. The two
joiners stay: some scripts are not written right without them."""

_GAPS = re.compile(r"(?<=\S)[ \t]{2,}")
_EMPTY_LINES = re.compile(r"\n{3,}")


class Unreadable(Exception):
    """The file cannot be read, for ``reason``."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class OutOfTime(BaseException):
    """The time for reading is over. No ``Exception``, so that no parser takes it for one of its own."""


@dataclass(frozen=True)
class Job:
    """One file to read. ``charset`` is what was said of it, ``base_url`` what its links are relative to."""

    kind: str
    seconds: float
    memory_bytes: int
    max_chars: int
    max_pages: int
    first_page: int = 1
    charset: str = ""
    base_url: str = ""

    @staticmethod
    def parse(text: str) -> Job:
        return Job(**json.loads(text))

    def dump(self) -> str:
        return json.dumps(asdict(self))


@dataclass
class Reading:
    """The text of a file. ``sections`` are (page number, text); a file without pages is one section numbered 0.

    ``stopped``: a bound ended the reading before the file's end. ``blank`` are pages without text. ``damaged``: some
    characters could not be read. ``refresh`` is where a page sends browsers by itself.
    """

    sections: list[tuple[int, str]] = field(default_factory=list)
    title: str | None = None
    pages: int | None = None
    outline: list[tuple[str, int]] = field(default_factory=list)
    stopped: bool = False
    blank: list[int] = field(default_factory=list)
    damaged: bool = False
    refresh: str | None = None


def confine(job: Job) -> None:
    """From here on: no file is written, memory and processor time are bounded, and ``OutOfTime`` comes at the end.

    A bound that the platform does not have is left out; the parent kills this process a little later in any case.
    """
    processor = int(job.seconds) + 2
    for what, limit in (
        (resource.RLIMIT_AS, job.memory_bytes),
        (resource.RLIMIT_CPU, processor),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (limit, limit))
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_REAL, job.seconds)


def release() -> None:
    """``OutOfTime`` comes no more: what was read can be written out."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def _out_of_time(_: int, __: FrameType | None) -> None:
    raise OutOfTime


def tidy(text: str) -> str:
    """No control or invisible characters, gaps inside lines as one space, at most one empty line in a row."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ")
    lines = (_GAPS.sub(" ", line).rstrip() for line in _CONTROL.sub("", text).split("\n"))
    return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip("\n ")


def one_line(text: str | None, longest: int = 300) -> str | None:
    """``text`` in one line of at most ``longest`` characters; None for nothing."""
    return " ".join(tidy(text).split())[:longest] or None if text else None
