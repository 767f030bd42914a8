"""What a tool answers: one envelope, as text and as structured content, from one payload.

Open WebUI and opencode show a model the text alone, other clients the structured content alone, so both say the
same: the text is the payload's own compact JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from mcp.types import CallToolResult, TextContent
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from mcp_servers.kit.errors import ToolFailure

Item = dict[str, JsonValue]

DEFAULT_MAX_BYTES = 24_000
"""Size of one payload: about 6-8k tokens. A result carries it twice (text and structured), so a manifest's
``max_result_bytes`` of 60000 holds."""


class Envelope(BaseModel):
    """The shape of every answer. A value that is not known is null, never 0."""

    model_config = ConfigDict(extra="allow")

    source: str = Field(description="Where the data comes from")
    retrieved_at: str = Field(description="When it was read from there (UTC)")
    from_cache: bool
    cache_age_seconds: int | None
    query_used: dict[str, JsonValue] = Field(description="The filters as really applied")
    total: int | None = Field(description="All matches, or null where unknown")
    returned: int
    has_more: bool
    next_cursor: str | None = Field(description="Pass as cursor to get the next items")
    items: list[dict[str, JsonValue]]
    notices: list[str] = Field(description="What to know before relying on the items")


ToolResult = Annotated[CallToolResult, Envelope]
"""The return annotation of a tool: publishes the envelope as its output schema."""


@dataclass(frozen=True)
class Provenance:
    """Where an answer's data came from and how old it is."""

    source: str
    retrieved_at: datetime
    from_cache: bool = False
    age_s: float | None = None
    notices: tuple[str, ...] = ()

    @staticmethod
    def merge(source: str, parts: Iterable[Provenance], now: datetime | None = None) -> Provenance:
        """Of an answer that was put together from several reads: as old as the oldest of them (none: ``now``)."""
        known = list(parts)
        if not known:
            return Provenance(source, now or datetime.now(UTC))
        oldest = min(known, key=lambda part: part.retrieved_at)
        notices = dict.fromkeys(notice for part in known for notice in part.notices)
        return Provenance(source, oldest.retrieved_at, oldest.from_cache, oldest.age_s, tuple(notices))


@dataclass(frozen=True)
class Page:
    """One answer before it is cut to size.

    ``cursor_at`` gives the cursor that continues after the first n of ``items`` (None: there is no way to go on).
    ``droppable`` names item fields that may go when the answer is too big, the most dispensable first.
    ``extra`` holds further top-level keys, such as ``unresolved`` or ``facets``.
    """

    items: Sequence[Item]
    query_used: Mapping[str, JsonValue]
    provenance: Provenance
    total: int | None = None
    more_upstream: bool = False
    cursor_at: Callable[[int], str] | None = None
    droppable: Sequence[str] = ()
    notices: Sequence[str] = ()
    extra: Mapping[str, JsonValue] = field(default_factory=dict)


def page_result(page: Page, *, max_bytes: int = DEFAULT_MAX_BYTES) -> CallToolResult:
    """The tool's result, at most ``max_bytes`` of JSON: fields go first, then rows, then the ends of long texts."""
    payload = _payload(page, list(page.items), [])
    if _size(payload) > max_bytes:
        payload = _shrunk(page, max_bytes)
    return payload_result(payload)


def payload_result(payload: Mapping[str, JsonValue]) -> CallToolResult:
    """A result whose text and structured content are both ``payload``."""
    return CallToolResult(
        content=[TextContent(type="text", text=compact_json(payload))], structured_content=dict(payload)
    )


def failure_result(failure: ToolFailure) -> CallToolResult:
    """The error result that a model can act on."""
    return CallToolResult(content=[TextContent(type="text", text=failure.text())], is_error=True)


def compact_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _size(payload: Mapping[str, JsonValue]) -> int:
    return len(compact_json(payload).encode())


def _payload(page: Page, items: list[Item], cut: list[str]) -> dict[str, JsonValue]:
    dropped_rows = len(items) < len(page.items)
    has_more = page.more_upstream or dropped_rows
    provenance = page.provenance
    age = provenance.age_s if provenance.from_cache else None
    return {
        "source": provenance.source,
        "retrieved_at": provenance.retrieved_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "from_cache": provenance.from_cache,
        "cache_age_seconds": None if age is None else int(age),
        "query_used": dict(page.query_used),
        "total": page.total,
        "returned": len(items),
        "has_more": has_more,
        "next_cursor": page.cursor_at(len(items)) if has_more and page.cursor_at else None,
        "items": list(items),
        **page.extra,
        "notices": [*page.notices, *provenance.notices, *cut],
    }


def _shrunk(page: Page, max_bytes: int) -> dict[str, JsonValue]:
    items = [dict(item) for item in page.items]
    cut: list[str] = []
    gone: list[str] = []
    for name in page.droppable:
        if not any(name in item for item in items):
            continue
        items = [{key: value for key, value in item.items() if key != name} for item in items]
        gone.append(name)
        cut = [f"Left out to keep the answer small: {', '.join(gone)}. Ask for fewer items to get it."]
        if _size(payload := _payload(page, items, cut)) <= max_bytes:
            return payload
    kept = _rows_that_fit(page, items, cut, max_bytes)
    if kept < len(items):
        how = "pass next_cursor to go on" if page.cursor_at else "ask for fewer at a time"
        cut = [*cut, f"Only the first {kept} of {len(items)} items fit in one answer: {how}."]
    return _with_short_texts(page, items[:kept], cut, max_bytes)


def _rows_that_fit(page: Page, items: list[Item], cut: list[str], max_bytes: int) -> int:
    """At least one row, since an answer without any would only repeat itself."""
    room_for_notice = 120
    low, high = 1, max(1, len(items))
    while low < high:
        middle = (low + high + 1) // 2
        if _size(_payload(page, items[:middle], cut)) + room_for_notice <= max_bytes:
            low = middle
        else:
            high = middle - 1
    return low


def _with_short_texts(page: Page, items: list[Item], cut: list[str], max_bytes: int) -> dict[str, JsonValue]:
    payload = _payload(page, items, cut)
    longest = 4000
    while _size(payload) > max_bytes and longest >= 60:
        shortened = [{key: _shortened(value, longest) for key, value in item.items()} for item in items]
        payload = _payload(page, shortened, [*cut, f"Texts are cut at {longest} characters, lists at {longest // 40}."])
        longest //= 2
    return payload


def _shortened(value: JsonValue, longest: int) -> JsonValue:
    if isinstance(value, str):
        return value if len(value) <= longest else value[:longest].rstrip() + "…"
    if isinstance(value, list):
        return [_shortened(entry, longest) for entry in value[: max(1, longest // 40)]]
    if isinstance(value, dict):
        return {key: _shortened(entry, longest) for key, entry in value.items()}
    return value
