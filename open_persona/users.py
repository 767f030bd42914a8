"""``open-persona users``: of whom something is kept, handing it over, and removing what nobody will come back to."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from open_persona.errors import BadArgument, UsersRefused
from open_persona.users_api import UserEntry, UserList, UsersApi

Lines = Callable[[str], AsyncGenerator[str, None]]
"""What is typed after a prompt."""
HASH = re.compile(r"[0-9a-f]{16}")
Mark = Literal["gone", "unused"]
CANT_TELL = "Open WebUI can't be asked, so that nobody can be called gone"


@dataclass(frozen=True)
class Wanted:
    """Who is to be removed: these users (hashes), or all that bear a mark."""

    users: tuple[str, ...] = ()
    gone: bool = False
    unused: bool = False


@dataclass(frozen=True)
class Marked:
    """A user, and what is said of them."""

    entry: UserEntry
    marks: frozenset[Mark]


def user_hash(user_id: str) -> str:
    """The name of a user id in everything that is kept."""
    return hashlib.sha256(user_id.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def named(hashes: Sequence[str], user_ids: Sequence[str]) -> tuple[str, ...]:
    """The users by hash. Raises ``BadArgument`` for what is no hash."""
    if wrong := [one for one in hashes if not HASH.fullmatch(one)]:
        raise BadArgument(f"{wrong[0]!r} is no hash: it has 16 digits from 0 to f. For a user id give --user-id.")
    return (*hashes, *map(user_hash, user_ids))


def marked(found: UserList, known: frozenset[str] | None, own: str, now: datetime) -> tuple[Marked, ...]:
    """Everybody with their marks. ``own`` is whom the command talks as, which Open WebUI need not know.

    Where nobody here is known to Open WebUI it is another one than the data is of, and nobody is called gone.
    """
    told = known is not None and any(entry.user in known for entry in found.users)
    oldest = now - timedelta(days=found.unused_days)

    def marks(entry: UserEntry) -> frozenset[Mark]:
        said: set[Mark] = set()
        if known is not None and told and entry.user not in known and entry.user != own:
            said.add("gone")
        if entry.last_used is not None and entry.last_used <= oldest and not entry.live:
            said.add("unused")
        return frozenset(said)

    return tuple(Marked(entry, marks(entry)) for entry in found.users)


async def show(api: UsersApi, own: str, out: Console, *, as_json: bool) -> int:
    """Prints everybody; always 0."""
    found, known = await api.users(), await api.known()
    everybody = marked(found, known, own, datetime.now(UTC))
    if as_json:
        rows = [{**one.entry.model_dump(mode="json"), "marks": sorted(one.marks)} for one in everybody]
        out.file.write(json.dumps({"webui_asked": known is not None, "users": rows}, indent=1) + "\n")
        return 0
    if everybody:
        out.print(table(everybody))
    else:
        out.print("Nothing is kept of anybody.")
    if known is None:
        out.print(Text(f"{CANT_TELL}."))
    return 0


async def export(api: UsersApi, user: str, target: Path, out: Console) -> int:
    """Writes the archive of one user; always 0. Raises what ``UsersApi.export`` does."""
    size = await api.export(user, target)
    out.print(Text(f"{target}: {_size(size)}, for your eyes alone (mode 0600)."))
    return 0


async def remove(api: UsersApi, wanted: Wanted, own: str, out: Console, *, typed: Lines | None, sure: bool) -> int:
    """Shows who goes, asks, and removes. 0: all are removed, or nobody had to be; 1: the answer was no, or one is left.

    ``typed`` is None where nobody can be asked, which then is a ``BadArgument`` unless ``sure``.
    """
    going = await _chosen(api, wanted, own)
    if not going:
        out.print("There is nobody to remove.")
        return 0
    out.print(table(going))
    if not sure and not await _agreed(len(going), typed):
        out.print("Nothing was removed.")
        return 1
    still = {one.entry.user for one in await _chosen(api, wanted, own)}  # one may have come back meanwhile
    left = 0
    for user in (one.entry.user for one in going):
        try:
            if user not in still:
                raise UsersRefused(f"{user}: used again meanwhile.")
            await api.remove(user)
            out.print(Text(f"Removed {user}."))
        except UsersRefused as refused:
            left += 1
            out.print(Text(f"Left: {refused}"))
    return int(left > 0)


async def _chosen(api: UsersApi, wanted: Wanted, own: str) -> tuple[Marked, ...]:
    if [bool(wanted.users), wanted.gone, wanted.unused].count(True) != 1:
        raise BadArgument("Say who: hashes or --user-id, or --gone, or --unused. One of these at a time.")
    found = await api.users()
    known = await api.known() if wanted.gone else None
    if wanted.gone and known is None:
        raise BadArgument(f"{CANT_TELL}. Nothing was removed: start it, or set OPEN_PERSONA_WEBUI_URL.")
    if wanted.gone and found.users and not any(entry.user in (known or ()) for entry in found.users):
        raise BadArgument(
            "Open WebUI knows none of the users here: is OPEN_PERSONA_WEBUI_URL the right one? Nothing was removed. "
            "Name the hashes where they are to go all the same."
        )
    everybody = marked(found, known, own, datetime.now(UTC))
    if not wanted.users:
        mark: Mark = "gone" if wanted.gone else "unused"
        return tuple(one for one in everybody if mark in one.marks)
    by_hash = {one.entry.user: one for one in everybody}
    if missing := [user for user in wanted.users if user not in by_hash]:
        raise BadArgument(f"Nothing is kept of {', '.join(missing)}. 'open-persona users ls' shows whom there is.")
    return tuple(by_hash[user] for user in dict.fromkeys(wanted.users))


async def _agreed(count: int, typed: Lines | None) -> bool:
    if typed is None:
        raise BadArgument("There is no terminal to ask at. Look at the above, and give --yes to remove it.")
    whom = "this user" if count == 1 else f"these {count} users"
    async with aclosing(typed(f"Remove files, memory and usage of {whom} for good? [y/N] ")) as lines:
        async for line in lines:
            return line.strip().lower() in ("y", "yes")
    return False


def table(everybody: Sequence[Marked]) -> Table:
    """One line per user, the longest unused first."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("user", "files", "last used", "runner", "tokens", ""):
        shown.add_column(name, justify="right" if name in ("files", "tokens") else "left", overflow="fold")
    for one in sorted(everybody, key=lambda one: one.entry.last_used or datetime.max.replace(tzinfo=UTC)):
        entry = one.entry
        used = entry.last_used.strftime("%Y-%m-%d") if entry.last_used else "unknown"
        size = ("" if entry.whole else "over ") + _size(entry.bytes)
        tokens = f"{entry.input_tokens + entry.output_tokens:,}"
        shown.add_row(entry.user, size, used, "up" if entry.live else "", tokens, ", ".join(sorted(one.marks)))
    return shown


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
