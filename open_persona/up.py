"""``open-persona up``: every service in the foreground until it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from open_persona.local import LocalStack, running
from open_persona.settings import StackSettings
from open_persona.terminal import integration_table, service_table
from open_persona.webui.api import WebuiApi

SHARED_SETTING = "OPEN_PERSONA_PROCESS_SHARED"


async def up(
    settings: StackSettings, environment: Mapping[str, str], out: Console, *, verbose: bool, webui: bool = False
) -> int:
    """Runs until it is cancelled. ``verbose`` shows every line that the services write, not only their ends.
    ``webui``: Open WebUI too."""

    def say(line: str) -> None:
        out.print(Text(line, style="dim"))

    def echo(name: str, line: str) -> None:
        out.print(Text(f"[{name}] {line}"), soft_wrap=True)

    out.print("Starting ...")
    if webui:
        _note_before(environment, out)
    async with running(settings, environment, say, echo if verbose else None, webui=webui) as local:
        await _show(local, settings, out)
        if webui:
            await _show_webui(local, settings, out)
        out.print("Talk to a persona: open-persona chat --persona izzy   Stop: Ctrl-C")
        try:
            await asyncio.Event().wait()
        finally:
            out.print("Stopping ...")
    return 0


async def _show(local: LocalStack, settings: StackSettings, out: Console) -> None:
    catalog = await local.catalog()
    out.print(service_table(local.services, local.stack.states()))
    out.print()
    out.print(integration_table(catalog))
    out.print(f"\nStatus page: {settings.hub}   Logs: {settings.home / 'logs'}", soft_wrap=True)
    if settings.demo:
        out.print("Demo mode: without a provider key, a scripted demo model answers.")
    if local.sample_records:
        out.print("Grants.gov can't be reached from here: its answers are SAMPLE records.")


def _note_before(environment: Mapping[str, str], out: Console) -> None:
    out.print("Open WebUI takes about a minute to start, its first start a little more.")
    if environment.get(SHARED_SETTING, "").lower() not in ("1", "true", "yes", "on"):
        out.print(f"One user is served; for several, who have to trust each other, set {SHARED_SETTING}=1.")


async def _show_webui(local: LocalStack, settings: StackSettings, out: Console) -> None:
    out.print(f"Open WebUI: {settings.webui}", soft_wrap=True)
    if await WebuiApi(settings.webui_here, local.http).needs_first_user():
        out.print("Nobody has an account there yet: the first one who signs up is the admin.")
