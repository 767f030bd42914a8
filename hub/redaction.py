"""A user's secret settings are taken out of what a backend answers.

A server that repeats the key it was given, in a result or an error, would put it into the runner's session and the
model's context.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

REDACTED = "[redacted]"
MIN_CHARS = 12
"""A shorter setting could be an ordinary word, and is not looked for."""


class Redaction:
    """Replaces each of ``secrets`` wherever it shows."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._texts = sorted({one for one in secrets if len(one) >= MIN_CHARS}, key=len, reverse=True)
        self._escaped = [json.dumps(one)[1:-1].encode() for one in self._texts]

    def of_text(self, text: str) -> str:
        for secret in self._texts:
            text = text.replace(secret, REDACTED)
        return text

    def of_json(self, body: bytes) -> bytes:
        """``body`` is JSON as ``hub.gateway_messages.encoded`` makes it, and remains JSON."""
        for secret in self._escaped:
            if secret in body:
                body = body.replace(secret, REDACTED.encode())
        return body


NOTHING = Redaction()
