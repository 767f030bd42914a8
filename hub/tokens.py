"""What a tool costs a model's context, about."""

from __future__ import annotations

import json
from collections.abc import Mapping

BYTES_PER_TOKEN = 4
"""A rule of thumb; the JSON of a tool is plain English and punctuation."""

_SENT = ("name", "description", "inputSchema")


def context_tokens(definition: Mapping[str, object]) -> int:
    """Tokens of a tool's definition as a model gets it: name, description and input schema. Rounded up."""
    sent = {key: definition[key] for key in _SENT if key in definition}
    size = len(json.dumps(sent, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))
    return -(-size // BYTES_PER_TOKEN)
