"""Watching an answer as it passes: whole lines go on at once, and are searched only for what may be in them.

Server-sent events come in whole lines, so nothing waits for more than the rest of its own line. That is what makes it
possible to keep a key that a provider echoes out of the runner.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sidecar.providers import Dialect

MAX_LINE_BYTES: Final = 16 * 2**20
REDACTED: Final = b"[redacted]"
_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')
_END: Final[Mapping[Dialect, re.Pattern[bytes]]] = {
    "chat": re.compile(rb'^data:\s*\[DONE\]|"finish_reason"\s*:\s*"', re.MULTILINE),
    "messages": re.compile(rb'^data:.*"type"\s*:\s*"message_stop"', re.MULTILINE),
    "responses": re.compile(rb'^data:.*"type"\s*:\s*"response\.(completed|incomplete)"', re.MULTILINE),
}
_ERROR: Final[Mapping[Dialect, re.Pattern[bytes]]] = {
    "chat": re.compile(rb'"error"\s*:\s*[{"]'),
    "messages": re.compile(rb'"type"\s*:\s*"error"'),
    "responses": re.compile(rb'"type"\s*:\s*"(error|response\.failed)"'),
}


class LineTooLong(Exception):
    """The provider sent a line of more than ``MAX_LINE_BYTES``."""


@dataclass
class StreamScan:
    """One answer of a provider. ``key`` is replaced wherever it shows."""

    dialect: Dialect
    key: bytes = b""
    complete: bool = False
    error: Mapping[str, object] | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    _rest: bytearray = field(default_factory=bytearray)

    def feed(self, chunk: bytes) -> bytes:
        """The lines that ``chunk`` completes. After an ``error`` event, which is left out, the stream is over."""
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            self._rest += chunk
            if len(self._rest) > MAX_LINE_BYTES:
                raise LineTooLong
            return b""
        lines = bytes(self._rest) + chunk[:cut] if self._rest else chunk[:cut]
        self._rest = bytearray(chunk[cut:])
        return self._searched(lines)

    def rest(self) -> bytes:
        """What came after the last line end."""
        rest, self._rest = bytes(self._rest), bytearray()
        return self._searched(rest) if rest else b""

    def whole(self, body: bytes) -> bytes:
        """An answer that is not a stream."""
        document = _object(body)
        self.complete = bool(document)
        if isinstance(usage := document.get("usage"), dict):
            self._count(usage)
        return self._redacted(body)

    def _searched(self, lines: bytes) -> bytes:
        if _ERROR[self.dialect].search(lines):
            lines = self._without_error(lines)
        if _USAGE.search(lines):
            self._read_usage(lines)
        if not self.complete and _END[self.dialect].search(lines):
            self.complete = True
        return self._redacted(lines)

    def _redacted(self, data: bytes) -> bytes:
        return data.replace(self.key, REDACTED) if self.key and self.key in data else data

    def _without_error(self, lines: bytes) -> bytes:
        """``lines`` up to an error event; the pattern alone may also match inside a tool's arguments."""
        kept = bytearray()
        for line in lines.splitlines(keepends=True):
            event = _event(line) if _ERROR[self.dialect].search(line) else {}
            if self._is_error(event):
                self.error = event
                break
            kept += line
        return bytes(kept)

    def _is_error(self, event: Mapping[str, object]) -> bool:
        if self.dialect == "chat":
            return bool(event.get("error"))
        return event.get("type") in ("error", "response.failed")

    def _read_usage(self, lines: bytes) -> None:
        for line in lines.splitlines():
            if not _USAGE.search(line):
                continue
            event = _event(line)
            for holder in (event, event.get("response"), event.get("message")):
                if isinstance(holder, dict) and isinstance(usage := holder.get("usage"), dict):
                    self._count(usage)

    def _count(self, usage: Mapping[str, object]) -> None:
        """Reports within one answer are running totals. Anthropic's ``input_tokens`` leaves the cached ones out."""
        cached = 0
        if self.dialect == "messages":
            cached = _number(usage, "cache_creation_input_tokens") + _number(usage, "cache_read_input_tokens")
        self.input_tokens = max(self.input_tokens, _number(usage, "prompt_tokens", "input_tokens") + cached)
        self.output_tokens = max(self.output_tokens, _number(usage, "completion_tokens", "output_tokens"))


def _number(usage: Mapping[str, object], *names: str) -> int:
    found = (usage.get(name) for name in names)
    return next((value for value in found if isinstance(value, int) and 0 <= value < 2**40), 0)


def _event(line: bytes) -> Mapping[str, object]:
    return _object(line[5:]) if line.startswith(b"data:") else {}


def _object(data: bytes) -> Mapping[str, object]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
