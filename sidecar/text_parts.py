"""How much of a text has been shown, in the units in which opencode cuts it.

opencode is JavaScript: its texts are UTF-16, and a delta may end between the two halves of one character. A first
half is held back until its second comes; a half without the other becomes U+FFFD.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class TextPart:
    """One text of an answer. While ``lossy``, deltas are passed over: some were missed, the whole text comes later."""

    kind: Literal["answer", "reasoning"]
    lossy: bool = False
    _taken: int = 0
    _held: str = ""

    def delta(self, piece: str) -> str:
        """What a delta adds to what was shown."""
        return "" if self.lossy else self._take(piece)

    def whole(self, text: str) -> str:
        """What the whole text, as far as it is there, adds to what was shown."""
        return self._take(_units(text)[self._taken * 2 :].decode("utf-16-le", "surrogatepass"))

    def _take(self, piece: str) -> str:
        self._taken += len(_units(piece)) // 2
        piece, self._held = self._held + piece, ""
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self._held = piece[:-1], piece[-1]
        return _units(piece).decode("utf-16-le", "replace")


def _units(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")
