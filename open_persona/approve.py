"""``open-persona approve``: how the tools of a pinned integration changed, and the operator's word that they may."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

import httpx
from rich.console import Console
from rich.text import Text

from hub.wire import IntegrationDetail, ToolDrift
from open_persona.errors import BadArgument, ServiceUnreachable
from open_persona.hub_api import HubApi
from open_persona.secrets import load_secrets
from open_persona.settings import StackSettings

ANSWER_S = 10.0
KINDS = {"new": "is new", "changed": "is another", "gone": "has gone"}
COLOURS = {"+": "green", "-": "red", "@": "cyan"}

Lines = Callable[[str], AsyncGenerator[str, None]]
"""What is typed after a prompt."""


async def approve(
    settings: StackSettings,
    environment: Mapping[str, str],
    out: Console,
    name: str,
    *,
    typed: Lines | None,
    sure: bool,
) -> int:
    """Exit code 0 when nothing waits for an approval any more, 1 when the answer was no.

    ``typed`` is None where nobody can be asked, which then is a ``BadArgument`` unless ``sure``. Raises
    ``ServiceUnreachable`` and ``HubRefused`` too.
    """
    secrets = load_secrets(settings.home, environment)
    if secrets is None:
        raise ServiceUnreachable(f"There are no keys in {settings.home}. Run this where the hub runs.")
    async with httpx.AsyncClient(trust_env=False, timeout=ANSWER_S) as http:
        hub = HubApi(settings.hub, http, secrets.service_key)
        shown = await hub.integration(name)
        if not shown.drift:
            out.print(Text(_nothing(shown)))
            return 0
        for one in shown.drift:
            _show(one, out)
        if not sure and not await _agreed(_question(shown), typed):
            out.print(Text("Nothing was approved."))
            return 1
        approval = await hub.approve(name, shown.tool_fingerprint)
    out.print(Text(f"Approved: {', '.join(one.tool for one in approval.tools) or 'nothing had changed'}."))
    return 0


async def _agreed(question: str, typed: Lines | None) -> bool:
    """Whether the answer is yes; the end of the input is a no."""
    if typed is None:
        raise BadArgument("There is no terminal to ask at. Look at the above, and give --yes to approve it.")
    async with aclosing(typed(f"{question} [y/N] ")) as lines:
        async for line in lines:
            return line.strip().lower() in ("y", "yes")
    return False


def _question(shown: IntegrationDetail) -> str:
    return f"Approve {'this change' if len(shown.drift) == 1 else f'these {len(shown.drift)} changes'} of {shown.name}?"


def _nothing(shown: IntegrationDetail) -> str:
    if not shown.pin:
        return f"{shown.title} is not pinned: its tools need no approval."
    return f"Nothing waits: the tools of {shown.title} are as they were approved."


def _show(one: ToolDrift, out: Console) -> None:
    out.print(Text(f"{one.tool} {KINDS[one.kind]}", style="bold"))
    for line in one.diff.split("\n") if one.diff else ["(more tools changed than are compared here)"]:
        out.print(Text(f"  {line}", style=COLOURS.get(line[:1], "")), soft_wrap=True)
    out.print()
