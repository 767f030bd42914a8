"""Running a judge against a URL: the conformance suite, the Inspector, the TypeScript SDK's client."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.bearer import adding_bearer
from tests.conformance.scenarios import Revision
from tests.conformance.tools import Judges

RUN_S = 180.0
RESULTS = re.compile(r"^server-|-\d{4}-\d\d-\d\dT.*$")
CLIENT = Path(__file__).with_name("client.mjs")


@dataclass(frozen=True)
class Check:
    """One check of a scenario; ``status`` is ``SUCCESS``, ``FAILURE``, ``WARNING``, ``SKIPPED`` or ``INFO``."""

    id: str
    status: str
    error: str


@dataclass(frozen=True)
class Verdict:
    """What a judge said: its exit code, its output, and the checks of each scenario of the suite."""

    code: int
    output: str
    checks: dict[str, list[Check]] = field(default_factory=dict)

    def failures(self, scenario: str) -> list[str]:
        """Every check of a scenario that failed, with the suite's own words."""
        return [f"{check.id}: {check.error}" for check in self.checks.get(scenario, ()) if check.status == "FAILURE"]

    def passed(self, scenario: str) -> int:
        """How many checks of a scenario passed."""
        return sum(check.status == "SUCCESS" for check in self.checks.get(scenario, ()))


async def judge_requirements(
    judges: Judges, url: str, revision: Revision, scratch: Path, *, bearer: str = ""
) -> Verdict:
    """Everything that a revision requires of a server, and what the suite runs beside it without counting it.

    With ``bearer`` every request carries that token. ``scratch`` is an empty folder for the suite's files.
    """
    return await _conformance(judges, url, ("--requirements", revision), scratch, bearer)


async def judge_scenario(
    judges: Judges, url: str, scenario: str, revision: Revision, scratch: Path, *, bearer: str = ""
) -> Verdict:
    """One scenario, spoken in one revision."""
    return await _conformance(judges, url, ("--scenario", scenario, "--spec-version", revision), scratch, bearer)


async def inspect(judges: Judges, url: str, bearer: str, scratch: Path, *arguments: str) -> Verdict:
    """One call of the Inspector's command line."""
    header = ("--header", f"Authorization: Bearer {bearer}") if bearer else ()
    command = (str(judges.inspector), "--cli", url, "--transport", "http", *arguments, *header)
    return await _run(judges, command, scratch)


async def use_typescript_client(judges: Judges, url: str, bearer: str, scratch: Path) -> dict[str, object]:
    """What the TypeScript SDK's client saw (``client.mjs``)."""
    verdict = await _run(judges, (str(CLIENT), str(judges.folder), url, bearer), scratch)
    assert verdict.code == 0, verdict.output
    seen: dict[str, object] = json.loads(verdict.output)
    return seen


async def _conformance(judges: Judges, url: str, arguments: Sequence[str], scratch: Path, bearer: str) -> Verdict:
    async with adding_bearer(url, bearer) if bearer else nullcontext(url) as opened:
        command = (str(judges.conformance), "server", "--url", opened, *arguments, "-o", str(scratch / "results"))
        verdict = await _run(judges, command, scratch)
    return Verdict(verdict.code, verdict.output, _read_checks(scratch / "results"))


def _read_checks(results: Path) -> dict[str, list[Check]]:
    """The suite leaves ``server-<scenario>-<time>/checks.json`` for each scenario."""
    found: dict[str, list[Check]] = {}
    for file in sorted(results.glob("server-*/checks.json")):
        scenario = RESULTS.sub("", file.parent.name)
        checks = json.loads(file.read_text())
        found[scenario] = [Check(one["id"], one["status"], str(one.get("errorMessage", ""))) for one in checks]
    return found


async def _run(judges: Judges, command: Sequence[str], scratch: Path) -> Verdict:
    """Ends the judge at the deadline, and when the test is cancelled."""
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(scratch), "NO_COLOR": "1"}
    process = await asyncio.create_subprocess_exec(
        str(judges.node), *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(RUN_S):
            out, err = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert process.returncode is not None
    return Verdict(process.returncode, out.decode() if process.returncode == 0 else f"{out.decode()}\n{err.decode()}")
