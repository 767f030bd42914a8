"""One line for each call and each refusal, as JSON on the logger ``hub.audit``, and the same as metrics.

Neither arguments nor results nor settings are ever in it. What a runner named itself is shortened and cleaned. No
answer waits for its line: lines are written together, :data:`DELAY_S` later at the most.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram

from hub.calls_log import CallsLog
from hub.outcomes import Outcome, Refusal
from hub.text import clean
from hub.wire import CallEntry

logger = logging.getLogger("hub.audit")

MAX_NAME = 64
MAX_TOOLS = 100
DELAY_S = 0.01


@dataclass(frozen=True)
class Caller:
    """Whose call it is, from the lease that allows it; empty when none does."""

    user: str = ""
    persona: str = ""


NOBODY = Caller()


class _Ended(NamedTuple):
    """A call, or a refusal (``ms`` None), and when it ended."""

    at: datetime
    caller: Caller
    integration: str
    tool: str
    outcome: Outcome | Refusal
    ms: float | None


class Audit:
    """Writes the lines and counts; ``now`` gives the wall clock in UTC. :meth:`flush` writes what is still to come.

    ``calls`` has an ``integration`` label; ``log`` holds the last lines.
    """

    def __init__(self, registry: CollectorRegistry, now: Callable[[], datetime]) -> None:
        self._now = now
        self.log = CallsLog()
        self._ended: list[_Ended] = []
        self._flusher: asyncio.TimerHandle | None = None
        self.calls = Counter(
            "open_persona_hub_calls", "Tool calls by outcome.", ("integration", "outcome"), registry=registry
        )
        self._refusals = Counter(
            "open_persona_hub_refusals", "Runner requests refused before any call.", ("why",), registry=registry
        )
        self._seconds = Histogram(
            "open_persona_hub_call_seconds",
            "Duration of tool calls.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60),
            registry=registry,
        )

    def call(self, caller: Caller, integration: str, tool: str, outcome: Outcome, ms: float) -> None:
        """One ``tools/call`` has ended. ``integration`` is one of the catalog."""
        self._note(_Ended(self._now(), caller, integration, tool, outcome, ms))

    def refused(self, why: Refusal, integration: str = "", caller: Caller = NOBODY) -> None:
        """A request was answered as if there were nothing."""
        self._refusals.labels(why).inc()
        self._note(_Ended(self._now(), caller, integration, "", why, None))

    def approved(self, integration: str, tools: Sequence[str], tool_fingerprint: str) -> None:
        """The operator accepted tools. Written at once."""
        line = {"at": self._now().isoformat(timespec="milliseconds"), "integration": integration, "outcome": "approved"}
        logger.info("%s", json.dumps({**line, "tools": list(tools)[:MAX_TOOLS], "tool_fingerprint": tool_fingerprint}))

    def flush(self) -> None:
        """Write the lines that wait."""
        if self._flusher is not None:
            self._flusher.cancel()
            self._flusher = None
        ended, self._ended = self._ended, []
        for one in ended:
            if one.ms is not None:
                self.calls.labels(one.integration, one.outcome).inc()
                self._seconds.observe(one.ms / 1000)
            self.log.add(entry := _entry(one))
            logger.info("%s", _line(entry))

    def _note(self, ended: _Ended) -> None:
        self._ended.append(ended)
        if self._flusher is None:
            self._flusher = asyncio.get_running_loop().call_later(DELAY_S, self.flush)


def _entry(ended: _Ended) -> CallEntry:
    return CallEntry.model_construct(
        at=ended.at,
        user=ended.caller.user,
        persona=ended.caller.persona,
        integration=_name(ended.integration),
        tool=_name(ended.tool),
        outcome=ended.outcome,
        ms=None if ended.ms is None else round(ended.ms, 1),
    )


def _line(entry: CallEntry) -> str:
    line = {
        "at": entry.at.isoformat(timespec="milliseconds"),
        "user": entry.user,
        "persona": entry.persona,
        "integration": entry.integration,
        "tool": entry.tool,
        "outcome": entry.outcome,
        "ms": entry.ms or 0.0,
    }
    return json.dumps(line)


def _name(text: str) -> str:
    """What a runner named, safe to log; the usual short names take the short way."""
    return text if len(text) <= MAX_NAME and text.isascii() and text.isprintable() else clean(text, MAX_NAME)
