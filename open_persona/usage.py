"""``open-persona usage``: how many tokens each persona used for whom, as the sidecar counted them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table
from rich.text import Text

from open_persona.sidecar_api import SidecarApi


class UsageEntry(BaseModel):
    """One row of ``GET /v1/open-persona/usage``: one day, user hash, persona and model."""

    model_config = ConfigDict(extra="ignore")

    day: str
    user: str
    persona: str
    provider: str
    model: str
    calls: int
    input_tokens: int
    output_tokens: int


class UsageReport(BaseModel):
    """The answer of that route."""

    model_config = ConfigDict(extra="ignore")

    days: int
    rows: tuple[UsageEntry, ...]


async def usage(sidecar: SidecarApi, days: int, out: Console, *, as_json: bool) -> int:
    """Prints the report; always 0. Raises ``ServiceUnreachable``, with the sidecar's own words when it refuses."""
    report = UsageReport.model_validate(await sidecar.usage(days))
    if as_json:
        out.file.write(json.dumps(report.model_dump(), indent=1) + "\n")
    elif not report.rows:
        out.print(f"No model was called in the last {'day' if report.days == 1 else f'{report.days} days'}.")
    else:
        out.print(usage_table(report))
    return 0


def usage_table(report: UsageReport) -> Table:
    """One line per persona and user, the largest first, and their sum."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("persona", "user"):
        table.add_column(name, overflow="fold")
    for name in ("calls", "tokens in", "tokens out"):
        table.add_column(name, justify="right")
    for (persona, user), counts in _sums(report.rows):
        table.add_row(Text(persona), Text(user), *(f"{count:,}" for count in counts))
    total = (sum(getattr(row, name) for row in report.rows) for name in ("calls", "input_tokens", "output_tokens"))
    table.add_section()
    table.add_row("all", "", *(f"{count:,}" for count in total))
    return table


def _sums(rows: Iterable[UsageEntry]) -> list[tuple[tuple[str, str], tuple[int, int, int]]]:
    sums: dict[tuple[str, str], tuple[int, int, int]] = {}
    for row in rows:
        calls, tokens_in, tokens_out = sums.get((row.persona, row.user), (0, 0, 0))
        added = (calls + row.calls, tokens_in + row.input_tokens, tokens_out + row.output_tokens)
        sums[row.persona, row.user] = added
    return sorted(sums.items(), key=lambda item: (-item[1][1] - item[1][2], item[0]))
