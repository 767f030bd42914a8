"""What pip is doing and how far it is, read from the lines that it writes."""

from __future__ import annotations

import re

from open_persona.bootstrap import noise_free

LAST_LINES = 12
_MB = 1_000_000
_FETCHING = re.compile(r"(?:Downloading|Using cached) (?P<file>\S+)(?: \((?P<size>[^)]+)\))?$")
_LOCAL = re.compile(r"Processing (?P<file>\S+)")
_BYTES = re.compile(r"Progress (?P<done>\d+) of (?P<total>\d+)$")
_INSTALLING = "Installing collected packages: "


class PipProgress:
    """Takes pip's lines. ``expected``: about how many packages there will be."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._looked_at: set[str] = set()
        self._fetched = 0
        self._bytes = 0
        self._file = ""
        self._now: tuple[int, int] | None = None
        self._installing: list[str] = []
        self._last: list[str] = []

    def line(self, text: str) -> bool:
        """Takes one line in. Whether it says something to a reader of the log."""
        text = text.strip()
        if found := _BYTES.match(text):
            self._at(int(found["done"]), int(found["total"]))
            return False
        if not noise_free(text):
            return False
        self._last = [*self._last, text][-LAST_LINES:]
        if text.startswith("Collecting "):
            self._looked_at.add(text.split()[1])
        elif (found := _FETCHING.match(text) or _LOCAL.match(text)) and not found["file"].endswith(".metadata"):
            self._fetched += 1
            self._file, self._now = _short(found["file"]), None
        elif text.startswith(_INSTALLING):
            self._installing = text.removeprefix(_INSTALLING).split(", ")
        return True

    def now(self, in_place: int) -> str:
        """One line for the person who waits. ``in_place``: how many packages the environment holds."""
        if len(self._installing) == 1:
            return f"Unpacking: {self._installing[0]}"
        if self._installing:
            return f"Unpacking: {in_place} of {max(self._expected, in_place)} packages are in place"
        if not self._fetched:
            return f"Looking for packages: {len(self._looked_at)} of about {self._expected}"
        sizes = f", {self._bytes / _MB:.0f} MB" if self._bytes else ""
        current = f"{self._now[0] / _MB:.0f} of {self._now[1] / _MB:.0f} MB of " if self._now else ""
        return f"Fetching: package {self._fetched} of about {self._expected}{sizes}; now {current}{self._file}"

    def problem(self) -> str:
        """pip's last lines, from its first error on where there is one."""
        errors = (number for number, line in enumerate(self._last) if line.startswith("ERROR"))
        return "\n".join(self._last[next(errors, 0) :])

    def _at(self, done: int, total: int) -> None:
        before = self._now[0] if self._now and self._now[1] == total and self._now[0] <= done else 0
        self._bytes += done - before
        self._now = (done, total)


def _short(file: str) -> str:
    """Name and version of a wheel; another file's own name."""
    name = file.rpartition("/")[2]
    return " ".join(name.split("-")[:2]) if name.endswith(".whl") else name
