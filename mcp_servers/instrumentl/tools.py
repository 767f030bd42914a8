"""The six tools. Each is one read of the caller's own account; none changes anything in Instrumentl."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal

from mcp.server.mcpserver import Context
from pydantic import Field, JsonValue

from mcp_servers.instrumentl import items, pipeline
from mcp_servers.instrumentl.client import TITLE, Account, Listing
from mcp_servers.instrumentl.records import Grant
from mcp_servers.instrumentl.search import narrow, search, terms_of
from mcp_servers.kit.credentials import CallerSettings
from mcp_servers.kit.integration import Integration
from mcp_servers.kit.paging import decode_cursor, encode_cursor
from mcp_servers.kit.results import Item, Page, Provenance, ToolResult, page_result
from mcp_servers.kit.upstream import Credential, Upstream

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Limit = Annotated[int, Field(ge=1, le=25, description="How many items to return")]
Cursor = Annotated[str | None, Field(max_length=200, description="next_cursor of the previous answer, to go on")]
Detail = Annotated[Literal["concise", "detailed"], Field(description="detailed adds overview, areas and cycles")]
ProjectId = Annotated[Id | None, Field(description="Only this project, an id from list_projects")]

_DROPPABLE = ("other", "overview", "cycles", "areas", "is_custom", "matched_terms")


class InstrumentlTools:
    """The tools as methods, over one shared upstream client."""

    def __init__(self, upstream: Upstream, integration: Integration) -> None:
        self._upstream = upstream
        self._integration = integration

    async def check_connection(self, ctx: Context) -> ToolResult:
        """Check that the Instrumentl key works, and whose account it is."""
        fetched = await self._account(ctx).organization()
        row = fetched.value if isinstance(fetched.value, dict) else {}
        name = row.get("organization_name")
        item: Item = {
            "ok": True,
            "organization_name": name if isinstance(name, str) else None,
            "plan_hint": "The plan includes API access.",
            "capabilities": ["read projects", "read saved grants", "search own grants", "read deadlines"],
        }
        return page_result(Page([item], {}, fetched.provenance, total=1))

    async def list_projects(
        self,
        ctx: Context,
        *,
        include_archived: Annotated[bool, Field(description="Also projects that are archived")] = False,
        limit: Limit = 25,
        cursor: Cursor = None,
    ) -> ToolResult:
        """List the user's projects in Instrumentl."""
        listing = await self._account(ctx).projects()
        chosen = [project for project in listing.rows if include_archived or project.active is not False]
        notices = list(listing.notices)
        if hidden := len(listing.rows) - len(chosen):
            notices.append(f"{hidden} archived project(s) left out; include_archived shows them.")
        query: dict[str, JsonValue] = {"tool": "list_projects", "include_archived": include_archived}
        rows = [items.project_item(project) for project in chosen]
        return _answer(rows, query, listing.provenance, limit=limit, cursor=cursor, notices=notices)

    async def list_saved_grants(
        self,
        ctx: Context,
        *,
        project_id: ProjectId = None,
        status: Annotated[str | None, Field(max_length=60, description="Only this status, as in the items")] = None,
        deadline_within_days: Annotated[int | None, Field(ge=0, le=730, description="Due in so many days")] = None,
        rolling: Annotated[bool | None, Field(description="Only rolling grants, or only others")] = None,
        sort: Annotated[Literal["deadline", "name"], Field(description="Order of the items")] = "deadline",
        limit: Limit = 10,
        cursor: Cursor = None,
        response_format: Detail = "concise",
    ) -> ToolResult:
        """List the grants that the user saved in Instrumentl, with deadlines and status."""
        today = self._today()
        read = await pipeline.read_pipeline(self._account(ctx), project_id)
        chosen = read.entries
        if deadline_within_days is not None:
            chosen = pipeline.within(chosen, today, deadline_within_days)
        if rolling is not None:
            chosen = [entry for entry in chosen if entry.grant is not None and bool(entry.grant.rolling) == rolling]
        chosen = pipeline.by_deadline(chosen, today)
        detailed = response_format == "detailed"
        rows = [items.saved_item(entry.saved, entry.grant, today, detailed=detailed) for entry in chosen]
        notices = list(read.notices)
        if status is not None:
            rows, notice = _of_status(rows, status)
            notices += notice
        if sort == "name":
            rows.sort(key=lambda row: str(row["name"] or "").lower())
        query: dict[str, JsonValue] = {
            "tool": "list_saved_grants",
            "project_id": project_id,
            "status": status,
            "deadline_within_days": deadline_within_days,
            "rolling": rolling,
            "sort": sort,
        }
        return _answer(rows, query, read.provenance, limit=limit, cursor=cursor, notices=notices)

    async def search_my_grants(
        self,
        ctx: Context,
        *,
        query: Annotated[str, Field(min_length=2, max_length=200, description="Words to look for")],
        project_id: Annotated[Id | None, Field(description="Only what is saved in this project")] = None,
        saved_only: Annotated[bool, Field(description="Only saved grants, not the matches")] = False,
        funder_id: Annotated[Id | None, Field(description="Only this funder")] = None,
        geography: Annotated[str | None, Field(max_length=60, description="Area name, such as Indiana")] = None,
        deadline_before: Annotated[
            date | None, Field(description="Due from today to before this day (YYYY-MM-DD)")
        ] = None,
        rolling: Annotated[bool | None, Field(description="Only rolling grants, or only others")] = None,
        limit: Limit = 10,
        cursor: Cursor = None,
        response_format: Detail = "concise",
    ) -> ToolResult:
        """Search the grants that Instrumentl offers to the user's account (saved ones and matches) by words."""
        scope = await _scope(self._account(ctx), project_id, saved_only=saved_only, funder_id=funder_id)
        today = self._today()
        kept, left_out = narrow(
            scope.rows, today, geography=geography, deadline_before=deadline_before, rolling=rolling
        )
        notices = [*scope.notices, *left_out]
        found = search(kept, terms_of(query))
        if found.partial:
            notices.append("No grant has all the words; these have some of them.")
        applied: dict[str, JsonValue] = {
            "tool": "search_my_grants",
            "query": query,
            "project_id": project_id,
            "saved_only": saved_only or project_id is not None,
            "funder_id": funder_id,
            "geography": geography,
            "deadline_before": None if deadline_before is None else deadline_before.isoformat(),
            "rolling": rolling,
        }
        rows = [items.match_item(match, today, detailed=response_format == "detailed") for match in found.matches]
        return _answer(rows, applied, scope.provenance, limit=limit, cursor=cursor, notices=notices)

    async def get_grants(
        self,
        ctx: Context,
        *,
        grant_ids: Annotated[list[Id], Field(min_length=1, max_length=5, description="1 to 5 grant ids")],
        response_format: Annotated[
            Literal["concise", "detailed"], Field(description="detailed: longer texts and all other fields")
        ] = "concise",
    ) -> ToolResult:
        """Read grants in full by their ids."""
        reads = await self._account(ctx).grants_by_id(grant_ids)
        today = self._today()
        rows = [
            items.record_item(grant, today, detailed=response_format == "detailed") for grant in reads.grants.values()
        ]
        unresolved: list[JsonValue] = [{"grant_id": key, "reason": why} for key, why in reads.unresolved.items()]
        notices = ["Award amounts are not in Instrumentl's API: follow the link of a grant for them."]
        query: dict[str, JsonValue] = {"grant_ids": list(dict.fromkeys(grant_ids))}
        extra: dict[str, JsonValue] = {"unresolved": unresolved}
        page = Page(rows, query, reads.provenance, len(rows), droppable=("other",), notices=notices, extra=extra)
        return page_result(page)

    async def list_deadlines(
        self,
        ctx: Context,
        *,
        days_ahead: Annotated[int, Field(ge=1, le=730, description="How far to look ahead")] = 60,
        project_id: ProjectId = None,
        limit: Limit = 25,
        cursor: Cursor = None,
    ) -> ToolResult:
        """List the coming deadlines of the user's saved grants by date, ready for a calendar; rolling grants apart."""
        today = self._today()
        read = await pipeline.read_pipeline(self._account(ctx), project_id)
        due = pipeline.by_deadline(pipeline.within(read.entries, today, days_ahead), today)
        rows = [items.deadline_item(entry.saved, entry.grant, today) for entry in due if entry.grant is not None]
        listed = {entry.saved.id for entry in due}
        rolling: list[JsonValue] = [
            {"grant_id": entry.grant.id, "name": entry.grant.name, "url": entry.grant.url}
            for entry in read.entries
            if entry.grant is not None and entry.grant.rolling and entry.saved.id not in listed
        ]
        undated = sum(entry.grant is not None and entry.grant.deadline_kind == "none_listed" for entry in read.entries)
        notices = list(read.notices)
        if undated:
            notices.append(f"{undated} saved grant(s) have no deadline listed.")
        query: dict[str, JsonValue] = {"tool": "list_deadlines", "days_ahead": days_ahead, "project_id": project_id}
        extra: dict[str, JsonValue] = {"rolling": rolling[:25], "rolling_count": len(rolling)}
        return _answer(rows, query, read.provenance, limit=limit, cursor=cursor, notices=notices, extra=extra)

    def _account(self, ctx: Context) -> Account:
        """Raises MissingCredentials before anything is asked of Instrumentl."""
        key_id, private_key = CallerSettings.of(ctx, self._integration).require("api_key_id", "api_private_key")

        async def on_page(rows: int, what: str) -> None:
            await ctx.report_progress(rows, None, f"Read {rows} {what}")

        return Account(self._upstream, Credential.basic(key_id, private_key), on_page)

    def _today(self) -> date:
        return self._upstream.clock.now().date()


async def _scope(
    account: Account, project_id: str | None, *, saved_only: bool, funder_id: str | None
) -> Listing[Grant]:
    """The grants to search. A project narrows them through what is saved in it: that much the API is known to do."""
    if project_id is None:
        listing = await account.grants(saved_only=saved_only, funder_id=funder_id)
        rows, provenance, notices = listing.rows, listing.provenance, listing.notices
    else:
        saved = await account.saved_grants(project_id)
        listing = await account.grants(saved_only=True, funder_id=funder_id)
        wanted = {row.grant_id for row in saved.rows}
        rows = [grant for grant in listing.rows if grant.id in wanted]
        provenance = Provenance.merge(TITLE, [saved.provenance, listing.provenance])
        notices = [*saved.notices, *listing.notices]
    crawled = provenance.retrieved_at.strftime("%Y-%m-%d %H:%M UTC")
    said = f"Searched {len(rows)} grants available to this account, read at {crawled}."
    return Listing(rows, provenance, [said, *notices])


def _of_status(rows: list[Item], status: str) -> tuple[list[Item], list[str]]:
    kept = [row for row in rows if str(row["status"] or "").lower() == status.strip().lower()]
    if kept:
        return kept, []
    known = sorted({str(row["status"]) for row in rows if row["status"]})
    return kept, [f"No item has this status; there are: {', '.join(known) or 'none'}."]


def _answer(
    rows: Sequence[Item],
    query: dict[str, JsonValue],
    provenance: Provenance,
    *,
    limit: int,
    cursor: str | None,
    notices: list[str],
    extra: dict[str, JsonValue] | None = None,
) -> ToolResult:
    """One page of ``rows``; ``query`` identifies the listing that its cursors belong to."""
    start = decode_cursor(cursor, query)
    shown = {name: value for name, value in query.items() if name != "tool" and value is not None}
    page = Page(
        rows[start : start + limit],
        shown,
        provenance,
        total=len(rows),
        more_upstream=start + limit < len(rows),
        cursor_at=lambda count: encode_cursor(start + count, query),
        droppable=_DROPPABLE,
        notices=notices,
        extra=extra or {},
    )
    return page_result(page)
