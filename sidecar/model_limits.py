"""What a model can take: images, and how much text."""

from __future__ import annotations

from sidecar.providers import ModelChoice
from sidecar.settings import Settings

CHARS_PER_TOKEN = 3
"""A cautious figure for English; other scripts need more tokens, for which ``HEADROOM`` leaves room."""

BUILT_IN_CONTEXT = 128_000
"""Tokens that every current model of the built-in providers takes."""

HEADROOM = 0.5
"""The share of the context for the transcript; the rest is for the core, tools, their results and the answer."""

OWN = ("compatible", "demo")


def takes_images(model: ModelChoice, settings: Settings) -> bool:
    """Whether an image may be passed on; for the deployment's own endpoint a setting says it."""
    return settings.compatible_images if model.provider in OWN else True


def context_chars(model: ModelChoice, settings: Settings) -> int:
    """How many characters of earlier messages a turn may tell the model."""
    tokens = settings.compatible_context if model.provider in OWN else BUILT_IN_CONTEXT
    return int(tokens * HEADROOM * CHARS_PER_TOKEN)
