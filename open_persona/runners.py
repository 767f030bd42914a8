"""``open-persona runners``: which runners the sidecar has, what they have written, and how one is restarted or stopped.

Everything is asked of the sidecar: the command needs no access to Docker.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table
from rich.text import Text

from open_persona.errors import BadArgument
from open_persona.sidecar_api import SidecarApi

PATH = "/v1/open-persona/runners"


class RunnerEntry(BaseModel):
    """One runner. ``state`` is ``running``, ``paused``, ``waiting`` to be started, ``starting`` or ``in turn``.

    ``since`` counts from 1970.
    """

    model_config = ConfigDict(extra="ignore")

    name: str
    user: str
    state: str
    turns: int
    idle_s: int
    since: int | None


async def entries(sidecar: SidecarApi) -> tuple[RunnerEntry, ...]:
    """The runners, by name. Raises ``ServiceUnreachable``."""

    class Report(BaseModel):
        runners: tuple[RunnerEntry, ...]

    return Report.model_validate(await sidecar.ask("GET", PATH)).runners


async def ls(sidecar: SidecarApi, out: Console, *, as_json: bool) -> int:
    """Prints the list; always 0. Raises ``ServiceUnreachable``."""
    found = await entries(sidecar)
    if as_json:
        out.file.write(json.dumps([entry.model_dump() for entry in found], indent=1) + "\n")
    elif not found:
        out.print("No runner is up. The next turn of a user starts one.")
    else:
        out.print(_table(found))
    return 0


def _table(found: Sequence[RunnerEntry]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("runner", overflow="fold")
    table.add_column("state")
    table.add_column("turns", justify="right")
    table.add_column("idle", justify="right")
    table.add_column("since (UTC)")
    for entry in found:
        since = f"{datetime.fromtimestamp(entry.since, UTC):%Y-%m-%d %H:%M}" if entry.since else ""
        idle = "" if entry.turns or entry.state in ("waiting", "starting") else f"{entry.idle_s} s"
        table.add_row(Text(entry.name), entry.state, str(entry.turns), idle, since)
    return table


async def logs(sidecar: SidecarApi, name: str, lines: int) -> int:
    """Prints the last lines of a runner's log as they are, without what would command a terminal; 0."""
    text = str(await sidecar.ask("GET", f"{PATH}/{_path(name)}/logs", params={"lines": str(lines)}, text=True))
    sys.stdout.write("".join(char for char in text if char.isprintable() or char in "\n\t"))
    return 0


async def restart(sidecar: SidecarApi, out: Console, names: Sequence[str], *, every: bool, force: bool) -> int:
    """Restarts the named runners, or all; 1 when one could not be. Raises ``ServiceUnreachable``."""
    return await _each(sidecar, out, "POST", "restart", names, every=every, force=force)


async def stop(sidecar: SidecarApi, out: Console, names: Sequence[str], *, every: bool, force: bool) -> int:
    """Stops the named runners, or all; 1 when one could not be. Raises ``ServiceUnreachable``."""
    return await _each(sidecar, out, "DELETE", "stop", names, every=every, force=force)


async def _each(
    sidecar: SidecarApi, out: Console, method: str, verb: str, names: Sequence[str], *, every: bool, force: bool
) -> int:
    if bool(names) == every:
        raise BadArgument(f"runners {verb}: name the runners ('open-persona runners ls' lists them), or say --all.")
    if every:
        names = [entry.name for entry in await entries(sidecar) if entry.since is not None]
    failed = 0
    for name in names:
        path = f"{PATH}/{_path(name)}" + ("/restart" if verb == "restart" else "")
        refusal = await sidecar.refusal(method, path, params={"force": "true"} if force else {})
        failed += bool(refusal)
        out.print(Text(f"{name}: {refusal or ('restarted' if verb == 'restart' else 'stopped')}"))
    if not names:
        out.print("No runner is up.")
    return int(failed > 0)


def _path(name: str) -> str:
    """``name`` as part of a URL's path. Raises ``BadArgument`` for what can't be a runner's name."""
    if not name or not all(char.isascii() and (char.isalnum() or char == "-") for char in name):
        raise BadArgument(f"{name!r} is not the name of a runner. 'open-persona runners ls' lists them.")
    return name
