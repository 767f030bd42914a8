"""Documents that were just read, so that the next piece of one is not fetched and read anew."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from mcp_servers.kit.clock import Clock
from mcp_servers.kit.documents import Document
from mcp_servers.kit.results import Provenance


@dataclass(frozen=True)
class Shelved:
    """``place`` is the address that the document was found at."""

    document: Document
    provenance: Provenance
    place: str = ""


class Shelf:
    """Keeps what anybody may read, for ``ttl_s`` and up to ``max_chars`` of text; what was used least goes first."""

    def __init__(self, clock: Clock, *, ttl_s: float = 900.0, max_chars: int = 12_000_000) -> None:
        self._clock, self._ttl_s, self._max_chars = clock, ttl_s, max_chars
        self._kept: OrderedDict[Hashable, tuple[float, Shelved]] = OrderedDict()

    def get(self, key: Hashable) -> Shelved | None:
        """The document of ``key`` with its age as provenance; None for none that is young enough."""
        found = self._kept.get(key)
        if found is None:
            return None
        stored_at, shelved = found
        age = self._clock.monotonic() - stored_at
        if age > self._ttl_s:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        first = shelved.provenance
        aged = Provenance(first.source, first.retrieved_at, True, age, first.notices)
        return Shelved(shelved.document, aged, shelved.place)

    def put(self, key: Hashable, shelved: Shelved) -> None:
        self._kept[key] = (self._clock.monotonic(), shelved)
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and self._chars() > self._max_chars:
            self._kept.popitem(last=False)

    def _chars(self) -> int:
        return sum(len(shelved.document.text) for _, shelved in self._kept.values())
