"""The estimate of what a tool costs a model's context."""

from __future__ import annotations

from hub.tokens import context_tokens


def test_what_a_model_does_not_get_costs_nothing() -> None:
    tool = {"name": "find", "description": "Finds.", "inputSchema": {"type": "object"}}
    assert context_tokens({**tool, "outputSchema": {"type": "object"}, "_meta": {"a": "b" * 900}}) == context_tokens(
        tool
    )
    assert context_tokens({**tool, "description": "Finds." + "x" * 400}) == context_tokens(tool) + 100
