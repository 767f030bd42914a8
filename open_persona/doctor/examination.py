"""The list of checks, and running them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import httpx
from rich.console import Console
from rich.text import Text

from open_persona.doctor import docker, open_webui, ports, programs, runners, services, state
from open_persona.doctor.findings import Check, Finding, Patient, fail
from open_persona.errors import HomeRefused
from open_persona.secrets import Secrets, load_secrets
from open_persona.settings import StackSettings
from open_persona.terminal import COLOURS

CHECKS: tuple[Check, ...] = (
    state.home,
    state.secrets,
    programs.opencode,
    programs.ripgrep,
    state.provider_keys,
    open_webui.open_webui,
    services.sidecar,
    services.hub,
    services.integrations,
    ports.integration_ports,
    docker.compose_secrets,
    docker.docker,
    runners.runners,
)
ANSWER_S = 3.0
CHECK_DEADLINE_S = 90.0


async def examine(
    settings: StackSettings, environment: Mapping[str, str], checks: Sequence[Check] = CHECKS
) -> list[Finding]:
    """Every finding, in the order of the checks."""
    async with httpx.AsyncClient(trust_env=False, timeout=ANSWER_S) as http:
        patient = Patient(settings, environment, http, _secrets(settings, environment))
        found = await asyncio.gather(*(_bounded(check, patient) for check in checks))
    return [finding for findings in found for finding in findings]


def healthy(findings: Sequence[Finding]) -> bool:
    """Whether nothing has to be mended."""
    return all(finding.level != "fail" for finding in findings)


def show(findings: Sequence[Finding], out: Console) -> None:
    """One line each, what to do below it, and a summary."""
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        head = (f"{finding.level:4}", COLOURS[finding.level])
        out.print(Text.assemble(head, "  ", f"{finding.check:{width}}  {finding.message}"), soft_wrap=True)
        if finding.action and finding.level != "ok":
            out.print(Text(f"{'':{width + 8}}→ {finding.action}"), soft_wrap=True)
    counts = {level: sum(finding.level == level for finding in findings) for level in ("ok", "warn", "fail")}
    out.print("\n" + ", ".join(f"{count} {level}" for level, count in counts.items()))


def _secrets(settings: StackSettings, environment: Mapping[str, str]) -> Secrets | None:
    try:
        return load_secrets(settings.home, environment)
    except HomeRefused:
        return None  # the check of the secrets says so


async def _bounded(check: Check, patient: Patient) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(CHECK_DEADLINE_S):
            return await check(patient)
    except TimeoutError:
        name = getattr(check, "__name__", "check")
        return [fail(name, f"no answer within {CHECK_DEADLINE_S:g} s", "Run the doctor again.")]
