"""One line for each call and each refusal, as JSON on the logger ``hub.audit``, and the same as metrics.

Neither arguments nor results nor settings are ever in it. What a runner named itself is shortened and cleaned.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram

from hub.outcomes import Outcome, Refusal
from hub.text import clean

logger = logging.getLogger("hub.audit")

MAX_NAME = 64


@dataclass(frozen=True)
class Caller:
    """Whose call it is, from the lease that allows it; empty when none does."""

    user: str = ""
    persona: str = ""


NOBODY = Caller()


class Audit:
    """Writes the lines and counts; ``now`` gives the wall clock in UTC."""

    def __init__(self, registry: CollectorRegistry, now: Callable[[], datetime]) -> None:
        self._now = now
        self._calls = Counter(
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
        self._calls.labels(integration, outcome).inc()
        self._seconds.observe(ms / 1000)
        self._write(caller, integration, tool, outcome, ms)

    def refused(self, why: Refusal, integration: str = "", caller: Caller = NOBODY) -> None:
        """A request was answered as if there were nothing."""
        self._refusals.labels(why).inc()
        self._write(caller, integration, "", why, 0.0)

    def _write(self, caller: Caller, integration: str, tool: str, outcome: str, ms: float) -> None:
        line = {
            "at": self._now().isoformat(timespec="milliseconds"),
            "user": caller.user,
            "persona": caller.persona,
            "integration": _name(integration),
            "tool": _name(tool),
            "outcome": outcome,
            "ms": round(ms, 1),
        }
        logger.info("%s", json.dumps(line))


def _name(text: str) -> str:
    """What a runner named, safe to log; the usual short names take the short way."""
    return text if len(text) <= MAX_NAME and text.isascii() and text.isprintable() else clean(text, MAX_NAME)
