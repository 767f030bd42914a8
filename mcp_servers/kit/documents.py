"""PDF, Word, HTML and plain text as text. Files come from strangers, so each is read in a process of its own.

A parser that a hostile file keeps busy, or makes take all memory, cannot be stopped inside a process that serves other
callers: a thread cannot be ended, and memory is the whole process's. The reading process has no secrets in its
environment, bounded memory and processor time, may write no file, and is killed at its deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from mcp_servers.kit.clock import Deadline
from mcp_servers.kit.errors import InvalidArgument, Unsupported, UpstreamTimeout
from mcp_servers.kit.filetype import Kind
from mcp_servers.kit.reader.job import Job, Reason

logger = logging.getLogger(__name__)

_ROOT = str(Path(__file__).resolve().parents[2])
_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from mcp_servers.kit.reader.entry import main; main()"
COMMAND = (sys.executable, "-I", "-X", "utf8", "-c", _BOOT, _ROOT)
_LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""All that the process gets of our environment: some Pythons do not start without."""

_GRACE_S = 1.5
"""For a reading process to hand over what it has after its own time is up."""

_REFUSALS: dict[Reason, tuple[str, str]] = {
    "encrypted": ("is protected with a password", "Ask the user for a copy without one, or follow its link."),
    "scanned": ("holds pictures of pages and no text", "Give the user its link: it can only be looked at."),
    "broken": ("is damaged or is not what it says it is", "Give the user its link."),
    "too_big": ("unpacks to more than can be read here", "Give the user its link."),
}


@dataclass(frozen=True)
class ReadLimits:
    """Bounds on reading one file. ``seconds`` ends the reading with what has been read."""

    seconds: float = 12.0
    memory_bytes: int = 512 * 1024 * 1024
    max_chars: int = 1_500_000
    max_pages: int = 600
    at_once: int = 2


@dataclass(frozen=True)
class Document:
    """The text of a file. ``sections`` are (page number, text); a file without pages is one section numbered 0."""

    kind: Kind
    sections: tuple[tuple[int, str], ...]
    title: str | None
    pages: int | None
    outline: tuple[tuple[str, int], ...]
    stopped: bool
    blank: tuple[int, ...]
    damaged: bool
    refresh: str | None

    @cached_property
    def text(self) -> str:
        """All sections; each page begins with a line ``[Page n]``."""
        return "\n\n".join(f"[Page {number}]\n{text}" if number else text for number, text in self.sections)

    @cached_property
    def version(self) -> str:
        """Differs when the text does: a cursor into another version is refused."""
        return hashlib.sha256(self.text.encode("utf-8", "replace")).hexdigest()[:16]

    @property
    def last_page(self) -> int:
        """The last page that was looked at, 0 without pages."""
        return max((*self.blank, *(number for number, _ in self.sections)), default=0)

    def page_start(self, page: int) -> int | None:
        """Where the first page with text from ``page`` on begins in ``text``; None where there is none."""
        at = 0
        for number, text in self.sections:
            if number >= page:
                return at
            at += len(f"[Page {number}]\n{text}\n\n")
        return None

    def notices(self) -> list[str]:
        """What a reader has to know about what is missing."""
        said = []
        if self.stopped and self.pages:
            said.append(f"Not the whole file: it was read up to page {self.last_page} of {self.pages}.")
        elif self.stopped:
            said.append("Only the beginning of this long text was read.")
        if self.blank:
            shown = ", ".join(map(str, self.blank[:20])) + (" …" if len(self.blank) > 20 else "")
            said.append(f"Pages without text (pictures, or nothing): {shown}.")
        if self.damaged:
            said.append("Some characters could not be read and stand as \ufffd.")
        return said


class DocumentReader:
    """Reads files, ``limits.at_once`` at a time. ``command`` replaces the reading process."""

    def __init__(self, limits: ReadLimits | None = None, *, command: Sequence[str] = COMMAND) -> None:
        self._limits = limits or ReadLimits()
        self._command = tuple(command)
        self._slots = asyncio.Semaphore(self._limits.at_once)

    async def read(
        self,
        content: bytes,
        kind: Kind,
        *,
        deadline: Deadline,
        charset: str = "",
        base_url: str = "",
        first_page: int = 1,
    ) -> Document:
        """The text of ``content`` by ``deadline``.

        Raises Unsupported for what has no readable text, InvalidArgument for a ``first_page`` that it does not have,
        UpstreamTimeout when it takes too long.
        """
        limits = self._limits
        try:
            async with asyncio.timeout(deadline.remaining()):
                await self._slots.acquire()
        except TimeoutError as error:
            raise UpstreamTimeout("Other files are being read, and this one's turn did not come.") from error
        try:
            seconds = max(0.1, min(limits.seconds, deadline.remaining() - _GRACE_S))
            job = Job(
                kind, seconds, limits.memory_bytes, limits.max_chars, limits.max_pages, first_page, charset, base_url
            )
            answer = await self._run(job, content)
        finally:
            self._slots.release()
        return _document(kind, answer, first_page)

    async def _run(self, job: Job, content: bytes) -> Mapping[str, JsonValue]:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            job.dump(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _LIBRARY_PATHS if name in os.environ},
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(job.seconds + _GRACE_S):
                output, _ = await process.communicate(content)
        except TimeoutError as error:
            raise _too_slow() from error
        finally:
            await _ended(process)
        try:
            answer: object = json.loads(output)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            # Killed by one of its bounds, or by the machine's want of memory.
            logger.info("reading a %s ended with status %s", job.kind, process.returncode)
            return {"unreadable": "too_big"}
        return answer


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _too_slow() -> UpstreamTimeout:
    return UpstreamTimeout("Reading this file took too long.", what_to_do="Give the user its link.")


def _document(kind: Kind, answer: Mapping[str, JsonValue], first_page: int) -> Document:
    reason = answer.get("unreadable")
    if reason == "no_such_page":
        raise InvalidArgument("page", f"there is no page {first_page}", what_to_do="Call again without page.")
    if reason == "too_slow":
        raise _too_slow()
    if reason is not None:
        what, advice = _REFUSALS.get(cast(Reason, reason), _REFUSALS["broken"])
        raise Unsupported(f"This {_NAMES[kind]} {what}.", what_to_do=advice)
    sections = cast(list[tuple[int, str]], answer["sections"])
    outline = cast(list[tuple[str, int]], answer["outline"])
    return Document(
        kind=kind,
        sections=tuple((number, text) for number, text in sections),
        title=cast(str | None, answer["title"]),
        pages=cast(int | None, answer["pages"]),
        outline=tuple((title, page) for title, page in outline),
        stopped=bool(answer["stopped"]),
        blank=tuple(cast(list[int], answer["blank"])),
        damaged=bool(answer["damaged"]),
        refresh=cast(str | None, answer["refresh"]),
    )


_NAMES: dict[Kind, str] = {"pdf": "PDF", "docx": "Word document", "html": "page", "text": "text"}
