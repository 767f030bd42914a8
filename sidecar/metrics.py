"""Prometheus metrics in a registry of their own.

Labels come from closed lists: configured providers and models, template ids, the reasons of ``errors``. Never a user.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from sidecar.outputs import Emit, Failure, Finish, Output
from sidecar.providers import PROVIDERS
from sidecar.settings import Settings
from sidecar.turns import RunningTurn

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OTHER: Final = "other"
_SECONDS: Final = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)

Run = Callable[[Emit], Awaitable[None]]
"""A turn that says what it has to say to an ``Emit``."""


class Metrics:
    """Counts turns and tokens as they end; ``live_runners`` is asked when the metrics are read."""

    def __init__(self, settings: Settings, live_runners: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._models = {
            (name, model) for name in settings.enabled_providers for model in PROVIDERS[name].listed_models(settings)
        }
        self._turns = Counter(
            "open_persona_turns",
            "Turns by outcome: ok, cancelled or the reason of the failure.",
            ("template", "outcome"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "open_persona_turn_seconds",
            "Duration of turns, from the accepted request to the end.",
            ("template",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._calls = Counter(
            "open_persona_model_calls",
            "Model calls that passed the broker.",
            ("provider", "model"),
            registry=self._registry,
        )
        self._tokens = Counter(
            "open_persona_tokens",
            "Tokens as the provider reported them; input holds the cached ones.",
            ("provider", "model", "direction"),
            registry=self._registry,
        )
        runners = Gauge("open_persona_live_runners", "Runners that are up.", registry=self._registry)
        runners.set_function(lambda: float(live_runners()))

    def watched(self, run: Run, template: str) -> Run:
        """``run``, with its outcome and duration counted; ``template`` is empty for a persona without one."""
        label = template or "none"

        async def watching(emit: Emit) -> None:
            outcome, started = "cancelled", time.perf_counter()

            def noting(output: Output) -> None:
                nonlocal outcome
                if isinstance(output, Finish):
                    outcome = "ok"
                elif isinstance(output, Failure):
                    outcome = output.error.reason
                emit(output)

            try:
                await run(noting)
            finally:
                self._turns.labels(label, outcome).inc()
                self._seconds.labels(label).observe(time.perf_counter() - started)

        return watching

    def count(self, turn: RunningTurn) -> None:
        """The calls and tokens of an ended turn."""
        if not turn.note.calls:
            return
        provider, _, model = min(turn.models).partition("/")
        labels = (provider, model) if (provider, model) in self._models else (OTHER, OTHER)
        self._calls.labels(*labels).inc(turn.note.calls)
        self._tokens.labels(*labels, "input").inc(turn.note.input_tokens)
        self._tokens.labels(*labels, "output").inc(turn.note.output_tokens)

    def render(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self._registry)
