"""The options of ``open-persona users``."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import httpx
import typer

from open_persona.command_line import api_key, run
from open_persona.errors import BadArgument
from open_persona.settings import StackSettings
from open_persona.terminal import console
from open_persona.typed import typed_lines

if TYPE_CHECKING:
    from open_persona.users_api import UsersApi

users_app = typer.Typer(no_args_is_help=True, help="Of whom something is kept; hand it over, or remove it.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Hashes = Annotated[list[str] | None, typer.Argument(metavar="[HASH]...", help="Users by hash, as users ls shows them.")]
UserIds = Annotated[list[str] | None, typer.Option("--user-id", help="A user id in place of a hash; can be repeated.")]
Unused = Annotated[bool, typer.Option("--unused", help="All whom nobody used for OPEN_PERSONA_UNUSED_DAYS days.")]


@users_app.command("ls")
def users_ls(as_json: AsJson = False) -> None:
    """Show everybody of whom something is kept: files, last use, tokens; who is gone from Open WebUI, who unused."""
    from open_persona import users

    async def shown() -> int:
        async with _api() as api:
            return await users.show(api, _own(), console(), as_json=as_json)

    run(shown)


@users_app.command("export")
def users_export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; never over another.")],
    user: Annotated[str, typer.Argument(metavar="[HASH]", help="The user's hash, as users ls shows it.")] = "",
    user_id: Annotated[str, typer.Option("--user-id", help="The user's id in place of the hash.")] = "",
) -> None:
    """Write all that is kept of one user to a tar.gz."""
    from open_persona import users

    async def exported() -> int:
        named = users.named([user] if user else [], [user_id] if user_id else [])
        if len(named) != 1:
            raise BadArgument("Name one user: a hash, or --user-id.")
        async with _api() as api:
            return await users.export(api, named[0], output, console())

    run(exported)


@users_app.command("rm")
def users_rm(
    hashes: Hashes = None,
    user_id: UserIds = None,
    gone: Annotated[bool, typer.Option("--gone", help="All whom Open WebUI does not know any more.")] = False,
    unused: Annotated[
        bool, typer.Option("--unused", help="All whom nobody used for OPEN_PERSONA_UNUSED_DAYS.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
) -> None:
    """Show whose data goes, and remove it on a yes: files, memory, usage, and the runner."""
    from open_persona import users

    async def removed() -> int:
        wanted = users.Wanted(users.named(hashes or [], user_id or []), gone, unused)
        typed = typed_lines if sys.stdin.isatty() else None
        async with _api() as api:
            return await users.remove(api, wanted, _own(), console(), typed=typed, sure=yes)

    run(removed)


@asynccontextmanager
async def _api() -> AsyncIterator[UsersApi]:
    from open_persona.users_api import UsersApi

    settings, key = StackSettings.from_environment(os.environ), api_key()
    async with httpx.AsyncClient(trust_env=False) as http:
        yield UsersApi(settings.sidecar, settings.webui, http, key)


def _own() -> str:
    """Whom the command itself talks as."""
    from open_persona.users import user_hash

    return user_hash(StackSettings.from_environment(os.environ).user)
