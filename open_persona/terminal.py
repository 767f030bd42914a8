"""What the command prints: tables and lines, with colour where there is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hub.wire import CatalogView, IntegrationView
from open_persona.services import Service

COLOURS = {
    "healthy": "green",
    "running": "green",
    "ready": "green",
    "ok": "green",
    "starting": "yellow",
    "degraded": "yellow",
    "backoff": "yellow",
    "warn": "yellow",
    "down": "red",
    "invalid": "red",
    "fail": "red",
    "disabled": "dim",
}
NARROWEST = 100
"""Columns for output that goes to a file or a pipe, so that nothing is cut there."""


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or ``NARROWEST`` where there is none."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else NARROWEST)


def printable(text: str) -> str:
    """``text`` with every character that a terminal might obey, or not show, as ``�``; line ends stay."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)


def coloured(state: str) -> Text:
    """A state in its colour."""
    return Text(state, style=COLOURS.get(state, ""))


def service_table(services: Iterable[Service], states: Mapping[str, str]) -> Table:
    """Every service with its addresses, the state of its process and the setting that moves it."""
    table = _table("service", "address", "state", "moved by")
    for service in services:
        for listener in service.listeners:
            table.add_row(listener.name, listener.url, coloured(states[service.name]), _short(listener.setting))
    return table


def integration_table(catalog: CatalogView) -> Table:
    """Every integration as the hub sees it, with what to do where something is wrong."""
    table = _table("integration", "title", "state", "latency", "tools", "what to do")
    for view in catalog.integrations:
        latency = f"{view.latency_ms:.0f} ms" if view.latency_ms is not None else ""
        approved = sum(tool.state == "approved" for tool in view.tools)
        # As Text: a bare string in a table is read as markup.
        title, advice = Text(printable(view.title)), Text(printable(advice_for(view)))
        table.add_row(view.name, title, coloured(state_of(view)), latency, str(approved), advice)
    return table


def state_of(view: IntegrationView) -> str:
    """``disabled`` where an operator switched it off, else its health."""
    return "disabled" if view.admin_state == "disabled" else view.health


def advice_for(view: IntegrationView) -> str:
    """Why an integration is not healthy and what to do; for a healthy one what its manifest's faults ask for."""
    if view.health == "healthy":
        return view.action
    return ": ".join(filter(None, [view.reason or "", view.action or view.detail]))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    return table


def _short(setting: str) -> str:
    head, _, path = setting.rpartition("/mcp_servers/")
    return f"{head.split(' in ')[0]} in mcp_servers/{path}" if head else setting
