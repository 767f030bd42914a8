"""What the sidecar's metrics count, and that their labels stay few."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from sidecar.errors import MissingKey
from sidecar.metrics import Metrics
from sidecar.openai_models import Usage
from sidecar.outputs import Emit, Failure, Finish, Output
from sidecar.settings import Settings
from sidecar.turns import RunningTurn

SETTINGS = Settings(compatible_base_url="http://x", compatible_models=("m1", "m2"))


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (found.name, frozenset(found.labels.items())): found.value for family in families for found in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, frozenset(labels.items())]


@pytest.mark.requirement("metrics:turns")
async def test_turns_are_counted_by_template_and_outcome() -> None:
    metrics, said = Metrics(SETTINGS, lambda: 2), list[Output]()

    async def well(emit: Emit) -> None:
        emit(Finish("stop", Usage()))

    async def badly(emit: Emit) -> None:
        emit(Failure(MissingKey("No key.")))

    async def never(_: Emit) -> None:
        await asyncio.Event().wait()

    for run in (well, well, badly):
        await metrics.watched(run, "izzy")(said.append)
    gone = asyncio.ensure_future(metrics.watched(never, "")(said.append))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert len(said) == 3
    counted = {
        name: value(metrics, "open_persona_turns_total", template="izzy", outcome=name)
        for name in ("ok", "missing_key")
    }
    assert counted == {"ok": 2, "missing_key": 1}
    assert value(metrics, "open_persona_turns_total", template="none", outcome="cancelled") == 1
    assert value(metrics, "open_persona_turn_seconds_count", template="izzy") == 3
    assert value(metrics, "open_persona_live_runners") == 2


def ended(model: str, user: str = "user-hash", persona: str = "someones-persona") -> RunningTurn:
    turn = RunningTurn("t", user, persona, SecretStr("token"), frozenset({model}))
    turn.note.calls, turn.note.input_tokens, turn.note.output_tokens = 2, 10, 5
    return turn


@pytest.mark.requirement("metrics:tokens")
def test_tokens_are_counted_by_model_and_direction() -> None:
    metrics = Metrics(SETTINGS, lambda: 0)
    for model in ("compatible/m1", "compatible/m1", "compatible/m2"):
        metrics.count(ended(model))
    of_m1 = {"provider": "compatible", "model": "m1"}
    assert value(metrics, "open_persona_model_calls_total", **of_m1) == 4
    assert value(metrics, "open_persona_tokens_total", direction="input", **of_m1) == 20
    assert value(metrics, "open_persona_tokens_total", direction="output", **of_m1) == 10


@pytest.mark.requirement("metrics:bounded")
def test_labels_are_configured_models_and_name_no_user_or_persona() -> None:
    metrics = Metrics(SETTINGS, lambda: 0)
    for number in range(50):
        metrics.count(ended(f"compatible/unknown-{number}", user=f"user-{number}", persona=f"persona-{number}"))
    assert value(metrics, "open_persona_model_calls_total", provider="other", model="other") == 100
    text = metrics.render().decode()
    assert not any(word in text for word in ("user-", "persona-", "unknown-"))
