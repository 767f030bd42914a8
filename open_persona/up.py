"""``open-persona up``: every service in the foreground until it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from open_persona.local import running
from open_persona.settings import StackSettings
from open_persona.terminal import integration_table, service_table


async def up(settings: StackSettings, environment: Mapping[str, str], out: Console, *, verbose: bool) -> int:
    """Runs until it is cancelled. ``verbose`` shows every line that the services write, not only their ends."""

    def say(line: str) -> None:
        out.print(Text(line, style="dim"))

    def echo(name: str, line: str) -> None:
        out.print(Text(f"[{name}] {line}"), soft_wrap=True)

    out.print("Starting ...")
    async with running(settings, environment, say, echo if verbose else None) as local:
        catalog = await local.catalog()
        out.print(service_table(local.services, local.stack.states()))
        out.print()
        out.print(integration_table(catalog))
        out.print(f"\nStatus page: {settings.hub}   Logs: {settings.home / 'logs'}", soft_wrap=True)
        if settings.demo:
            out.print("Demo mode: without a provider key, a scripted demo model answers.")
        if local.sample_records:
            out.print("Grants.gov can't be reached from here: its answers are SAMPLE records.")
        out.print("Talk to a persona: open-persona chat --persona izzy   Stop: Ctrl-C")
        try:
            await asyncio.Event().wait()
        finally:
            out.print("Stopping ...")
    return 0
