"""Has the user switched an integration off, or does the chat only not know of it yet?

Open WebUI sends the tools that are switched on, and nothing says why another is not. It can be off because its user
switched it off; because the page was loaded before an admin ticked it; or because the chat is older than the tick and
its tab keeps the switches that it had (a draft in the browser's session storage). Only the first counts. The rule:
a tick that the page does not know, or that is younger than the chat, is on, unless this chat has had it on before.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .toggles import integrations_in

MAX_CHATS = 10_000
MAX_ID_CHARS = 256


@dataclass(frozen=True)
class Version:
    """A saved version of a Model: when (seconds since 1970), and what was ticked in it."""

    at: float
    ticked: frozenset[str]


def ticked_on_page(body: bytes) -> frozenset[str] | None:
    """What was ticked in the Model as the page had loaded it; None where the request did not come from a page.

    A client can say anything here; all that it decides is whether the client's own switch counts.
    """
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        return None
    item = sent.get("model_item") if isinstance(sent, dict) else None
    info = item.get("info") if isinstance(item, dict) else None
    meta = info.get("meta") if isinstance(info, dict) else None
    return integrations_in(meta.get("toolIds")) if isinstance(meta, dict) else None


def ticked_since(name: str, versions: Sequence[Version]) -> float | None:
    """When the tick of today was made, from the Model's versions, the newest first; None: as far back as they go."""
    since = None
    for version in versions:
        if name not in version.ticked:
            return since
        since = version.at
    return None


class SeenOn:
    """The integrations that a chat has had on, as far as this process has seen; the chat unused for longest goes."""

    def __init__(self, limit: int = MAX_CHATS) -> None:
        self._limit = limit
        self._chats: OrderedDict[tuple[str, str], frozenset[str]] = OrderedDict()

    def note(self, user_id: str, chat_id: str, on: frozenset[str]) -> frozenset[str]:
        """Adds ``on``, and gives what the chat had on before."""
        if not chat_id or len(chat_id) > MAX_ID_CHARS:
            return frozenset()
        before = self._chats.pop((user_id, chat_id), frozenset())
        self._chats[user_id, chat_id] = before | on
        while len(self._chats) > self._limit:
            self._chats.popitem(last=False)
        return before


def too_young(
    missing: frozenset[str], page: frozenset[str] | None, chat_at: float | None, versions: Sequence[Version]
) -> frozenset[str]:
    """Of the ticked integrations that a request from a page lacks, those that its chat does not know of yet.

    ``chat_at`` is when the chat began, None where it is not stored.
    """
    if page is None:
        return frozenset()
    unknown = missing - page
    if chat_at is None:
        return unknown
    ticks = {name: ticked_since(name, versions) for name in missing & page}
    return unknown | {name for name, since in ticks.items() if since is not None and since > chat_at}


def versions_of(rows: Sequence[tuple[float, Mapping[str, object]]]) -> list[Version]:
    """From (time, stored meta) of a Model's versions."""
    return [Version(at, integrations_in(meta.get("toolIds"))) for at, meta in rows]
