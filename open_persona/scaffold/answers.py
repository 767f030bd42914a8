"""What somebody wants a new integration or persona to be: by options, by answers on a terminal, or by default."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from open_persona.errors import BadArgument
from open_persona.scaffold.names import title_of

Kind = Literal["python", "command", "http"]
KINDS: tuple[Kind, ...] = ("python", "command", "http")
EXAMPLE_URL = "https://api.example.org/v1"

Ask = Callable[[str, str], str]
"""Takes a question and its default, gives the answer. One that asks nobody gives the default."""


@dataclass(frozen=True)
class Wishes:
    """The options as given; empty or None where they were not."""

    kind: str = ""
    title: str = ""
    description: str = ""
    port: int | None = None
    url: str = ""
    command: str = ""


@dataclass(frozen=True)
class Answers:
    """Everything that a new integration needs to be known; ``port`` is None for one that runs elsewhere."""

    name: str
    kind: Kind
    title: str
    description: str
    port: int | None
    url: str
    command: tuple[str, ...]


def unasked(_: str, default: str) -> str:
    """Asks nobody."""
    return default


def answered(name: str, wishes: Wishes, ask: Ask, free_port: Callable[[], int]) -> Answers:
    """Options first, then what ``ask`` is told. Raises ``BadArgument`` that names the option which is missing."""
    kind = _kind(wishes.kind or ask(f"Kind ({', '.join(KINDS)})", "python"))
    title = wishes.title or ask("Title, for people", title_of(name))
    description = wishes.description or ask("What it is for, in one sentence", f"Looks things up in {title}.")
    url, command = wishes.url, wishes.command
    if kind == "python":
        url = url or ask("Address of the service's API", EXAMPLE_URL)
    elif kind == "http":
        url = _needed(url or ask("Address of the MCP endpoint, path included", ""), "--url", kind)
    else:
        command = _needed(command or ask("Command that talks MCP on stdio", ""), "--command", kind)
    port = None if kind == "http" else _port(wishes, ask, free_port)
    return Answers(name, kind, title.strip(), description.strip(), port, url.strip().rstrip("/"), _words(command))


def _kind(value: str) -> Kind:
    for kind in KINDS:
        if value.strip().lower() == kind:
            return kind
    raise BadArgument(f"--kind: {value!r} is none of {', '.join(KINDS)}.")


def _needed(value: str, option: str, kind: Kind) -> str:
    if not value.strip():
        raise BadArgument(f"{option} is needed for an integration of the kind {kind!r}.")
    return value


def _port(wishes: Wishes, ask: Ask, free_port: Callable[[], int]) -> int:
    if wishes.port is not None:
        return wishes.port
    said = ask("Port", str(free_port()))
    if not said.strip().isdigit():
        raise BadArgument(f"--port: {said!r} is no port.")
    return int(said)


def _words(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise BadArgument(f"--command: {error}.") from None
