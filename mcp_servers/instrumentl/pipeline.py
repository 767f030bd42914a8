"""The user's saved grants together with the grants themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from mcp_servers.instrumentl.client import TITLE, Account
from mcp_servers.instrumentl.records import Grant, SavedGrant
from mcp_servers.kit.errors import UpstreamError
from mcp_servers.kit.results import Provenance


@dataclass(frozen=True)
class Entry:
    """``grant`` is None where its details could not be read."""

    saved: SavedGrant
    grant: Grant | None

    @property
    def deadline(self) -> date | None:
        return None if self.grant is None else self.grant.next_deadline


@dataclass(frozen=True)
class Pipeline:
    entries: list[Entry]
    provenance: Provenance
    notices: list[str]


async def read_pipeline(account: Account, project_id: str | None) -> Pipeline:
    """Saved grants (of one project, or of all) joined with their details.

    The saved ones are listed in bulk first, since reading each by itself would take a second for every four; only
    what the bulk listing lacks is read one by one.
    """
    saved = await account.saved_grants(project_id)
    notices = list(saved.notices)
    parts = [saved.provenance]
    grants: dict[str, Grant] = {}
    if saved.rows:
        try:
            bulk = await account.grants(saved_only=True)
            grants = {grant.id: grant for grant in bulk.rows}
            parts.append(bulk.provenance)
            missing = [row.grant_id for row in saved.rows if row.grant_id not in grants]
            if missing:
                singles = await account.grants_by_id(missing)
                grants |= singles.grants
                parts.append(singles.provenance)
        except UpstreamError as error:
            notices.append(f"Not all details could be read ({error.code}): deadlines may be missing below.")
    entries = [Entry(row, grants.get(row.grant_id)) for row in saved.rows]
    if unread := sum(entry.grant is None for entry in entries):
        notices.append(
            f"{unread} saved grant(s) without details: {TITLE} did not give them. Their deadlines are unknown."
        )
    if any(row.project_id is None for row in saved.rows):
        notices.append("Which project a grant belongs to is not in this listing: pass project_id to see one project's.")
    return Pipeline(entries, Provenance.merge(TITLE, parts), notices)


def within(entries: list[Entry], today: date, days: int) -> list[Entry]:
    """Entries whose deadline is between today and ``days`` days ahead."""
    last = today + timedelta(days=days)
    return [entry for entry in entries if entry.deadline is not None and today <= entry.deadline <= last]


def by_deadline(entries: list[Entry], today: date) -> list[Entry]:
    """Next ones first, then those without a date, then the past ones, latest first."""

    def key(entry: Entry) -> tuple[int, int, str]:
        name = (entry.grant.name if entry.grant else None) or entry.saved.grant_id
        if entry.deadline is None:
            return (1, 0, name)
        days = (entry.deadline - today).days
        return (0, days, name) if days >= 0 else (2, -days, name)

    return sorted(entries, key=key)
