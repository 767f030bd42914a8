"""The reading process: a job as its argument, the file on its standard input, a reading as JSON on its output.

It is a process of its own since a parser that a hostile file has caught cannot be stopped in any other way.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict

from mcp_servers.kit.reader.charset import decoded
from mcp_servers.kit.reader.job import Job, OutOfTime, Reading, Unreadable, confine, release, tidy

Read = Callable[[bytes, Job], Reading]


def main() -> None:
    """Always writes one JSON object: the reading, or ``{"unreadable": reason}``."""
    job = Job.parse(sys.argv[2])
    content = sys.stdin.buffer.read()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    confine(job)
    answer = _answer(content, job)
    release()
    sys.stdout.write(json.dumps(answer))


def _answer(content: bytes, job: Job) -> dict[str, object]:
    try:
        return asdict(_reader(job.kind)(content, job))
    except Unreadable as error:
        return {"unreadable": error.reason}
    except OutOfTime:
        return {"unreadable": "too_slow"}
    except MemoryError:
        return {"unreadable": "too_big"}
    except Exception:  # noqa: BLE001 - what a hostile file makes a parser raise has no end
        return {"unreadable": "broken"}


def _reader(kind: str) -> Read:
    """Each parser is loaded only for a file of its own."""
    if kind == "pdf":
        from mcp_servers.kit.reader.pdf import read_pdf

        return read_pdf
    if kind == "docx":
        from mcp_servers.kit.reader.word import read_docx

        return read_docx
    if kind == "html":
        from mcp_servers.kit.reader.page import read_page

        return read_page
    return _read_text


def _read_text(content: bytes, job: Job) -> Reading:
    text, damaged = decoded(content, job.charset)
    text = tidy(text)
    return Reading(sections=[(0, text[: job.max_chars])], stopped=len(text) > job.max_chars, damaged=damaged)
