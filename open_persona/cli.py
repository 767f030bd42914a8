"""The ``open-persona`` command: reads options, calls one module per command, and shows errors in their own words.

The module of a command is imported when the command runs: some need half a second for it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
import typer

from open_persona.chats import ChatNote
from open_persona.command_line import api_key
from open_persona.command_line import errors_shown as _errors_shown
from open_persona.command_line import run as _run
from open_persona.config_show import config_of
from open_persona.conversation import Conversation
from open_persona.errors import BadArgument
from open_persona.home import home_folder, prepare_home
from open_persona.settings import StackSettings, identifier
from open_persona.sidecar_api import SidecarApi, meta_for
from open_persona.terminal import console
from open_persona.toolchain import ensure_all, tools_folder
from open_persona.typed import typed_lines
from open_persona.users_cli import users_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Personas for Open WebUI: start the services, look after them, talk to a persona.",
)
config_app = typer.Typer(no_args_is_help=True, help="What the sidecar tells opencode.")
app.add_typer(config_app, name="config")
new_app = typer.Typer(no_args_is_help=True, help="Make a new integration or persona, ready to be filled in.")
app.add_typer(new_app, name="new")
runners_app = typer.Typer(no_args_is_help=True, help="The runners of the sidecar: list, log, restart, stop.")
app.add_typer(runners_app, name="runners")

app.add_typer(users_app, name="users")

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take the defaults for what is not said.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Persona = Annotated[str, typer.Option("--persona", "-p", help="A template's id (izzy, grant-draft), build or plan.")]
Integrations = Annotated[
    list[str] | None, typer.Option("--integration", "-i", help="Switch this integration on; can be given again.")
]
User = Annotated[str | None, typer.Option("--user", help="The user id to talk as; else OPEN_PERSONA_USER, else local.")]


@app.command()
def up(
    webui: Annotated[bool, typer.Option("--webui", help="With Open WebUI, installed at first use (3 GB).")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every line that the services write.")] = False,
) -> None:
    """Run all services in the foreground until Ctrl-C. OPEN_PERSONA_DEMO=1 adds the demo model."""
    from open_persona import up as foreground

    _run(lambda: foreground.up(_settings(), os.environ, console(), verbose=verbose, webui=webui))


@app.command()
def demo() -> None:
    """Hold one real conversation with an integration on and one with it off, then stop everything."""
    from open_persona.demo import walkthrough

    _run(lambda: walkthrough.demo(os.environ, console()))


@app.command()
def setup() -> None:
    """Fetch opencode and ripgrep, if they are not there yet."""
    with _errors_shown():
        home = home_folder(os.environ)
        if tools_folder(home).is_relative_to(home):
            prepare_home(home)
        tools = ensure_all(home, os.environ, lambda line: print(line, flush=True))
        print(f"opencode: {tools.opencode}\nripgrep:  {tools.ripgrep}")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show every integration as the hub sees it. Exit code 1 when one is not healthy."""
    from open_persona import status as hub_status

    _run(lambda: hub_status.status(_settings(), os.environ, console(), as_json=as_json))


@app.command()
def approve(
    name: Annotated[str, typer.Argument(help="The integration whose tools have changed.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Approve without asking.")] = False,
) -> None:
    """Show how an integration's tools differ from the last approval, and accept them as they are now."""
    from open_persona import approve as approving

    async def ask() -> int:
        typed = typed_lines if sys.stdin.isatty() else None
        return await approving.approve(_settings(), os.environ, console(), name, typed=typed, sure=yes)

    _run(ask)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look for what is wrong, and say what to do. Exit code 1 when something has to be mended."""
    from open_persona.doctor.examination import examine, healthy, show

    with _errors_shown():
        findings = asyncio.run(examine(_settings(), os.environ))
        if as_json:
            print(json.dumps([finding.model_dump() for finding in findings], indent=1))
        else:
            show(findings, console())
        raise typer.Exit(int(not healthy(findings)))


@app.command()
def validate(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these integrations or personas.")
    ] = None,
    running: Annotated[
        bool, typer.Option("--running", help="Also look at ports of this machine, and ask servers where they run.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check integrations and persona templates against the rules. Exit code 1 when one is broken."""
    from open_persona.validate import command

    _run(lambda: command.validate(_settings(), os.environ, console(), names or (), running=running, as_json=as_json))


@app.command()
def chat(
    persona: Persona = "izzy",
    message: Annotated[str, typer.Option("--message", "-m", help="Send this one message and stop.")] = "",
    integration: Integrations = None,
    user: User = None,
    chat_id: Annotated[
        str | None,
        typer.Option("--chat", help="Begin a chat of this id, or go on with it where the persona has memory."),
    ] = None,
) -> None:
    """Talk to a persona in the terminal; /exit ends it."""
    from open_persona import chat as chatting

    async def talk() -> int:
        conversation = _conversation(persona, user, integration)
        if chat_id is not None:
            conversation.chat_id = _identifier(chat_id, "--chat")
            note = ChatNote(_settings().home, conversation.user_id, conversation.chat_id)
            conversation.last_answer_id, conversation.keep = note.last_answer(), note.keep
        lines = None if message else typed_lines(f"\nyou to {persona}> ")
        async with _sidecar() as sidecar:
            return await chatting.chat(sidecar, conversation, lines, message, console())

    _run(talk)


@app.command()
def usage(
    days: Annotated[int, typer.Option("--days", min=1, max=3660, help="How many days, today included.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Show how many tokens each persona used for whom."""
    from open_persona import usage as token_usage

    async def shown() -> int:
        async with _sidecar() as sidecar:
            return await token_usage.usage(sidecar, days, console(), as_json=as_json)

    _run(shown)


@config_app.command("show")
def config_show(persona: Persona = "izzy", integration: Integrations = None, user: User = None) -> None:
    """Print the opencode config that a turn of this persona would get, secrets masked."""

    async def shown() -> int:
        conversation = _conversation(persona, user, integration)
        async with _sidecar() as sidecar:
            print(json.dumps(await config_of(sidecar, conversation), indent=1))
        return 0

    _run(shown)


Runners = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="The runners, by name.")]
Every = Annotated[bool, typer.Option("--all", help="All of them.")]
Force = Annotated[bool, typer.Option("--force", help="Also one in a turn: the turn ends, and its user is told.")]


@runners_app.command("ls")
def runners_ls(as_json: AsJson = False) -> None:
    """List the runners that are up."""
    from open_persona import runners

    _run(lambda: _with_sidecar(lambda sidecar: runners.ls(sidecar, console(), as_json=as_json)))


@runners_app.command("logs")
def runners_logs(
    name: Annotated[str, typer.Argument(help="The runner's name.")],
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=10_000, help="How many of the last lines.")] = 200,
) -> None:
    """Print what a runner has written."""
    from open_persona import runners

    _run(lambda: _with_sidecar(lambda sidecar: runners.logs(sidecar, name, lines)))


@runners_app.command("restart")
def runners_restart(names: Runners = None, every: Every = False, force: Force = False) -> None:
    """End runners and start them again. Exit code 1 when one could not be."""
    from open_persona import runners

    _run(lambda: _with_sidecar(lambda it: runners.restart(it, console(), names or (), every=every, force=force)))


@runners_app.command("stop")
def runners_stop(names: Runners = None, every: Every = False, force: Force = False) -> None:
    """End and remove runners; a user's next turn starts another. Exit code 1 when one could not be."""
    from open_persona import runners

    _run(lambda: _with_sidecar(lambda it: runners.stop(it, console(), names or (), every=every, force=force)))


@new_app.command("integration")
def new_integration(
    name: Annotated[str, typer.Argument(help="Its name: lower case letters, digits and '_'.")],
    kind: Annotated[str, typer.Option("--kind", help="python, command or http; default python.")] = "",
    title: Annotated[str, typer.Option("--title", help="Its name for people.")] = "",
    description: Annotated[str, typer.Option("--description", help="What it is for, in one sentence.")] = "",
    port: Annotated[int | None, typer.Option("--port", help="Its port; default the next free one.")] = None,
    url: Annotated[str, typer.Option("--url", help="The service's API (python) or the MCP endpoint (http).")] = "",
    command: Annotated[str, typer.Option("--command", help="Program and arguments, in one text (command).")] = "",
    yes: Yes = False,
) -> None:
    """Make a folder that passes validate, with one tool and its tests. Asks on a terminal for what is not said."""
    from open_persona.scaffold import answers
    from open_persona.scaffold import command as scaffold

    with _errors_shown():
        wishes = answers.Wishes(kind, title, description, port, url, command)
        scaffold.new_integration(_settings(), name, wishes, _asker(yes), console())


@new_app.command("persona")
def new_persona(
    persona: Annotated[str, typer.Argument(metavar="ID", help="Its id: lower case letters, digits and '-'.")],
    name: Annotated[str, typer.Option("--name", help="Its name for people.")] = "",
    description: Annotated[str, typer.Option("--description", help="What it does, in one line.")] = "",
    yes: Yes = False,
) -> None:
    """Make a persona template that passes validate. Asks on a terminal for what is not said."""
    from open_persona.scaffold import command as scaffold

    with _errors_shown():
        scaffold.new_persona(os.environ, persona, name, description, _asker(yes), console())


def main() -> None:
    """The entry point of the ``open-persona`` script."""
    app(prog_name="open-persona")


def _asker(yes: bool) -> Callable[[str, str], str]:
    """Asks the person at the terminal; where there is none, or nothing is to be asked, gives the defaults."""
    if yes or not sys.stdin.isatty():
        return lambda _, default: default
    return lambda question, default: str(typer.prompt(question, default=default))


def _settings() -> StackSettings:
    return StackSettings.from_environment(os.environ)


def _conversation(persona: str, user: str | None, integrations: list[str] | None) -> Conversation:
    user_id = _settings().user if user is None else _identifier(user, "--user")
    return Conversation(persona, user_id, meta_for(tuple(integrations or ())))


def _identifier(value: str, option: str) -> str:
    try:
        return identifier(value)
    except ValueError as error:
        raise BadArgument(f"{option}: {error}.") from None


async def _with_sidecar(ask: Callable[[SidecarApi], Coroutine[None, None, int]]) -> int:
    async with _sidecar() as sidecar:
        return await ask(sidecar)


@asynccontextmanager
async def _sidecar() -> AsyncIterator[SidecarApi]:
    settings, key = _settings(), api_key()
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        yield SidecarApi(settings.sidecar, http, key)


if __name__ == "__main__":
    main()
