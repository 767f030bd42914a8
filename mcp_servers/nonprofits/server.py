"""The server: its tools, each one read of Nonprofit Explorer, and the app that offers them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, get_args

from mcp.server import MCPServer
from pydantic import Field, JsonValue
from starlette.applications import Starlette

from mcp_servers.kit.app import create_app
from mcp_servers.kit.errors import InvalidArgument
from mcp_servers.kit.integration import READ, Integration
from mcp_servers.kit.paging import Cursor, Limit, decode_cursor, encode_cursor
from mcp_servers.kit.results import Page, ToolResult, page_result
from mcp_servers.kit.serve import serve
from mcp_servers.kit.upstream import Policy, Upstream

from .client import ADVICE, BASE_URL, MOST_RESULTS, POLICY, Client, Query, Record
from .items import filing_items, hit_item, organization_item

INTEGRATION = Integration.from_folder(Path(__file__).parent)

Words = Annotated[
    str,
    Field(min_length=2, max_length=200, description='Words of the name or city; "a phrase", +must and -not work'),
]
State = Annotated[str | None, Field(pattern=r"^[A-Za-z]{2}$", description="Two letters, such as NY")]
Group = Literal[
    "arts",
    "education",
    "environment",
    "health",
    "human_services",
    "international",
    "public_benefit",
    "religion",
    "mutual_benefit",
    "unclassified",
]
GROUPS: tuple[Group, ...] = get_args(Group)
Field501c = Annotated[int | None, Field(ge=2, le=92, description="N of section 501(c)(N); 3 is charities, foundations")]
Ein = Annotated[str, Field(max_length=12, description="The EIN, such as 53-0196605")]
Years = Annotated[int, Field(ge=1, le=30, description="How many filings, the newest first")]

ATTRIBUTION = (
    "Data: ProPublica Nonprofit Explorer, from IRS filings. It is 1 to 2 years old: name the tax year of figures."
)
NO_GRANTEES = "Whom a foundation has funded is not in this source: say so, and look into the filing's PDF for it."


class Tools:
    """The tools as methods, over one client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def search_nonprofits(
        self,
        words: Words,
        state: State = None,
        group: Annotated[Group | None, Field(description="Only this field of work")] = None,
        subsection: Field501c = None,
        limit: Limit = 10,
        cursor: Cursor = None,
    ) -> ToolResult:
        """Search US nonprofits and foundations by name or city, for their EIN. Does not search missions or programs."""
        asked = Query(words, state.upper() if state else None, GROUPS.index(group) + 1 if group else None, subsection)
        used: dict[str, JsonValue] = {"words": words, "state": asked.state, "group": group, "subsection": subsection}
        query: dict[str, JsonValue] = {"tool": "search_nonprofits", **used}
        offset = decode_cursor(cursor, query)
        found = await self._client.search(asked, offset=offset)
        rows = found.rows[:limit]
        capped = found.total >= MOST_RESULTS
        page = Page(
            items=[hit_item(row) for row in rows],
            query_used={name: value for name, value in used.items() if value is not None},
            provenance=found.provenance,
            total=found.total,
            more_upstream=bool(rows) and offset + len(rows) < found.total,
            cursor_at=lambda count: encode_cursor(offset + count, query),
            notices=[ATTRIBUTION, *([f"There are more than {MOST_RESULTS:,} hits: narrow them."] if capped else [])],
        )
        return page_result(page)

    async def get_nonprofit(self, ein: Ein) -> ToolResult:
        """Read one US nonprofit by its EIN: address, kind, and the figures of its latest IRS filing with their year."""
        record = await self._client.read(_ein(ein))
        item = organization_item(record)
        page = Page([item], {"ein": item["ein"]}, record.provenance, total=1, notices=_notices(record))
        return page_result(page)

    async def list_filings(self, ein: Ein, years: Years = 5, cursor: Cursor = None) -> ToolResult:
        """List the IRS filings (990, 990-EZ, 990-PF) of a US nonprofit, newest first: figures, tax year, PDF link."""
        number = _ein(ein)
        record = await self._client.read(number)
        items = filing_items(record)
        query: dict[str, JsonValue] = {"tool": "list_filings", "ein": number}
        offset = decode_cursor(cursor, query)
        page = Page(
            items=items[offset : offset + years],
            query_used={"ein": organization_item(record)["ein"]},
            provenance=record.provenance,
            total=len(items),
            more_upstream=offset + years < len(items),
            cursor_at=lambda count: encode_cursor(offset + count, query),
            notices=_notices(record),
        )
        return page_result(page)


def _ein(value: str) -> int:
    digits = value.replace("-", "").strip()
    if not re.fullmatch(r"[0-9]{1,9}", digits) or int(digits) == 0:
        raise InvalidArgument(
            "ein", "an EIN has nine digits, such as 53-0196605", what_to_do="Find it by name with search_nonprofits."
        )
    return int(digits)


def _notices(record: Record) -> list[str]:
    """What to know before relying on the figures."""
    notices = [ATTRIBUTION, NO_GRANTEES]
    if not record.filings and not record.scans:
        notices.append(
            "It has no filings here, as the smallest ones (below $50,000 a year) have none. Nothing follows from it."
        )
    return notices


def build_app(*, base_url: str = BASE_URL, policy: Policy = POLICY) -> Starlette:
    """The integration as an ASGI app; ``base_url`` and ``policy`` are for tests."""
    upstream = Upstream(base_url, title=INTEGRATION.title, policy=policy, advice=ADVICE)
    tools = Tools(Client(upstream))
    server: MCPServer[object] = MCPServer(INTEGRATION.name, title=INTEGRATION.title)
    server.add_tool(tools.search_nonprofits, title="Search nonprofits", annotations=READ)
    server.add_tool(tools.get_nonprofit, title="Read a nonprofit", annotations=READ)
    server.add_tool(tools.list_filings, title="List filings", annotations=READ)
    return create_app(server, name=INTEGRATION.name, closing=[upstream])


def main() -> None:
    """Serve until stopped."""
    serve(build_app, name=INTEGRATION.name, default_port=INTEGRATION.transport.port or 7004)


if __name__ == "__main__":
    main()
