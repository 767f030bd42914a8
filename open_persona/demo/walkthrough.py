"""``open-persona demo``: one real conversation with an integration on, then the same words with it off.

Everything is real but the model, which is a script, and where it can't be reached, Grants.gov: hub, integrations,
sidecar, opencode. It uses free ports and a home of its own, and none of the user's keys.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from mcp_servers.launcher import scan
from open_persona.chat import take_turn
from open_persona.conversation import Conversation
from open_persona.demo.model import SeenRequest, SeenRequests
from open_persona.errors import OpenPersonaError, ServiceFailed
from open_persona.local import LocalStack, running
from open_persona.ports import free_ports
from open_persona.settings import INTEGRATIONS, PREFIX, StackSettings
from open_persona.sidecar_api import meta_for
from open_persona.terminal import integration_table
from open_persona.toolchain import TOOLS

PERSONA = "grant-draft"
INTEGRATION = "grants_gov"
QUESTION = "Find open federal grants for rural health."
USER = "demo"
SERVICE_PORTS = 4


@dataclass(frozen=True)
class Offered:
    """What the model was offered in one turn, and what it called."""

    tools: tuple[str, ...]
    called: tuple[str, ...]


async def demo(environment: Mapping[str, str], out: Console) -> int:
    """Exit code 0 when the tool was there and called in the first turn, and was not there in the second."""
    with own_folder() as folder:
        settings = demo_settings(folder)
        out.print("Starting hub, integrations, sidecar and the demo model ...")
        async with running(settings, clean(environment), lambda line: out.print(Text(line, style="dim"))) as local:
            await _show_hub(local, out)
            first = await _turn(local, settings, out, on=True)
            second = await _turn(local, settings, out, on=False)
        _check(first, second)
    out.print("\nDone; every process has ended. Next: open-persona up", soft_wrap=True)
    return 0


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder that is removed at the end, but for a failed demo: its logs are needed then."""
    folder = Path(tempfile.mkdtemp(prefix="open-persona-demo-"))
    logs = folder / "home" / "logs"
    needed = False
    try:
        yield folder
    except OpenPersonaError as error:
        needed = logs.is_dir()
        if needed:
            raise ServiceFailed(f"{error}\nThe logs of this demo: {logs}") from error
        raise
    finally:
        if not needed:
            shutil.rmtree(folder, ignore_errors=True)


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without any setting of Open Persona's, except where opencode and ripgrep are."""
    kept = {tool.setting for tool in TOOLS}
    return {name: value for name, value in environment.items() if not name.startswith(PREFIX) or name in kept}


def demo_settings(folder: Path) -> StackSettings:
    """A home below ``folder`` and free ports; the integrations' ports are set in copies of their folders."""
    servers = folder / "mcp_servers"
    specs = scan(INTEGRATIONS).specs.values()
    hub, sidecar, model, upstream, *rest = free_ports(SERVICE_PORTS + len(specs))
    for spec, port in zip(specs, rest, strict=True):
        shutil.copytree(spec.folder, servers / spec.name, ignore=shutil.ignore_patterns("__pycache__"))
        manifest = servers / spec.name / "manifest.yaml"
        manifest.write_text(re.sub(rf"\bport: {spec.port}\b", f"port: {port}", manifest.read_text(), count=1))
    return StackSettings(
        home=folder / "home",
        mcp_servers_dir=servers,
        hub_port=hub,
        sidecar_port=sidecar,
        demo=True,
        demo_port=model,
        demo_upstream_port=upstream,
    )


async def _show_hub(local: LocalStack, out: Console) -> None:
    out.print(Rule("The hub: which integrations exist, and do they answer", align="left"))
    out.print(integration_table(await local.catalog()))
    if local.sample_records:
        out.print("Grants.gov can't be reached from here, so its answers below are SAMPLE records.")


async def _turn(local: LocalStack, settings: StackSettings, out: Console, *, on: bool) -> Offered:
    state = "on" if on else "off"
    out.print()
    out.print(Rule(f"The persona {PERSONA} with {INTEGRATION} {state}", align="left"))
    out.print(f"you> {QUESTION}\n{PERSONA}>")
    before = await _seen(local, settings)
    conversation = Conversation(PERSONA, USER, meta_for((INTEGRATION,) if on else ()))
    if not await take_turn(local.sidecar, conversation, QUESTION, out):
        raise ServiceFailed("The turn failed, so the demo ends here. 'open-persona doctor' looks for the cause.")
    new = (await _seen(local, settings))[len(before) :]
    offered = Offered(
        tools=tuple(sorted({tool for request in new for tool in request.tools})),
        called=tuple(request.called for request in new if request.called),
    )
    out.print(f"\nTools that the model was offered: {', '.join(offered.tools) or 'none'}", style="bold", soft_wrap=True)
    out.print(f"Tools that it called: {', '.join(offered.called) or 'none'}", style="bold", soft_wrap=True)
    return offered


async def _seen(local: LocalStack, settings: StackSettings) -> tuple[SeenRequest, ...]:
    try:
        answer = await local.http.get(f"{settings.demo_model}/demo/requests")
        return SeenRequests.model_validate_json(answer.content).requests
    except httpx.HTTPError as error:
        raise ServiceFailed(f"The demo model does not answer: {type(error).__name__}.") from None


def _check(on: Offered, off: Offered) -> None:
    if not any(tool.startswith(f"{INTEGRATION}_") for tool in on.called):
        raise ServiceFailed(
            f"With {INTEGRATION} on, no tool of it was called. 'open-persona doctor' looks for the cause."
        )
    if off.tools:
        raise ServiceFailed(
            f"With {INTEGRATION} off, the model was still offered: {', '.join(off.tools)}. Report this."
        )
