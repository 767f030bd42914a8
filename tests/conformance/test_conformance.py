"""MCP judged by others: the official suite, its Inspector and the TypeScript SDK, directly and through the gateway."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio

from tests.conformance.fixture import tools_app, whole_app
from tests.conformance.gateway import Door, behind_gateway
from tests.conformance.judging import (
    Verdict,
    inspect,
    judge_requirements,
    judge_scenario,
    use_typescript_client,
)
from tests.conformance.scenarios import NOT_OF_KIT, REVISIONS, THROUGH_GATEWAY, Revision
from tests.conformance.tools import Judges
from tests.fakes.asgi_server import serve_app

pytestmark = [
    pytest.mark.real,
    pytest.mark.asyncio(loop_scope="module"),
    # The fixture offers what the newer revision deprecates, because the suite asks for it.
    pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning"),
]
Target = Literal["kit", "gateway"]
SCENARIOS = [(revision, scenario) for revision in REVISIONS for scenario in THROUGH_GATEWAY[revision]]
each_scenario = pytest.mark.parametrize(("revision", "scenario"), SCENARIOS)
each_of_kit = pytest.mark.parametrize(("revision", "scenario"), [one for one in SCENARIOS if one[1] not in NOT_OF_KIT])
INFORMATIVE = {"server-session-lifecycle", "server-sse-multiple-streams"}
"""They pass a server without sessions by saying so, and check nothing."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    async with behind_gateway(tmp_path_factory.mktemp("gateway")) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def verdicts(
    judges: Judges, door: Door, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[Target, Revision], Verdict]:
    """One run of the suite for each target and revision: a node for each scenario would take a minute."""
    found: dict[tuple[Target, Revision], Verdict] = {}
    async with serve_app(tools_app()) as kit:
        for revision in REVISIONS:
            scratch = tmp_path_factory.mktemp("judged")
            found["kit", revision] = await judge_requirements(judges, f"{kit}/mcp", revision, scratch)
            scratch = tmp_path_factory.mktemp("judged")
            found["gateway", revision] = await judge_requirements(
                judges, door.url, revision, scratch, bearer=door.token
            )
    return found


def accept(verdict: Verdict, scenario: str) -> None:
    assert verdict.failures(scenario) == []
    assert verdict.passed(scenario) or (scenario in INFORMATIVE and scenario in verdict.checks), verdict.output


@pytest.mark.requirement("conformance:direct")
@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_whole_server_meets_the_requirements_of_a_revision(
    judges: Judges, revision: Revision, tmp_path: Path
) -> None:
    async with serve_app(whole_app()) as url:
        verdict = await judge_requirements(judges, f"{url}/mcp", revision, tmp_path)
    assert verdict.code == 0, verdict.output
    for scenario in {*THROUGH_GATEWAY[revision]} - {*NOT_OF_KIT}:
        accept(verdict, scenario)


@pytest.mark.requirement("conformance:kit")
@each_of_kit
async def test_the_kit_passes_lifecycle_and_tools(
    verdicts: dict[tuple[Target, Revision], Verdict], revision: Revision, scenario: str
) -> None:
    accept(verdicts["kit", revision], scenario)


@pytest.mark.requirement("conformance:gateway")
@each_scenario
async def test_the_gateway_passes_lifecycle_and_tools(
    verdicts: dict[tuple[Target, Revision], Verdict], revision: Revision, scenario: str
) -> None:
    accept(verdicts["gateway", revision], scenario)


@pytest.mark.requirement("conformance:gateway")
@pytest.mark.parametrize("revision", REVISIONS)
async def test_the_suite_fails_at_the_gateway_with_another_token(
    judges: Judges, door: Door, revision: Revision, tmp_path: Path
) -> None:
    verdict = await judge_scenario(judges, door.url, "tools-list", revision, tmp_path, bearer="another-token")
    assert verdict.code != 0
    assert verdict.failures("tools-list")


@pytest.mark.requirement("conformance:inspector")
async def test_the_inspector_lists_portable_tools_through_the_gateway(
    judges: Judges, door: Door, tmp_path: Path
) -> None:
    verdict = await inspect(judges, door.url, door.token, tmp_path, "--method", "tools/list", "--strict")
    assert verdict.code == 0, verdict.output
    assert sorted(tool["name"] for tool in json.loads(verdict.output)["tools"]) == sorted(door.tools)


@pytest.mark.requirement("conformance:inspector")
async def test_the_inspector_calls_a_tool_through_the_gateway(judges: Judges, door: Door, tmp_path: Path) -> None:
    call = ("--method", "tools/call", "--tool-name", "test_simple_text")
    verdict = await inspect(judges, door.url, door.token, tmp_path, *call)
    assert verdict.code == 0, verdict.output
    assert json.loads(verdict.output)["content"][0]["text"] == "This is a simple text response for testing."


@pytest.mark.requirement("conformance:inspector")
async def test_the_inspector_with_another_token_gets_nothing(judges: Judges, door: Door, tmp_path: Path) -> None:
    verdict = await inspect(judges, door.url, "another-token", tmp_path, "--method", "tools/list")
    assert verdict.code != 0
    assert "test_simple_text" not in verdict.output


@pytest.mark.requirement("conformance:typescript")
async def test_the_typescript_sdk_works_through_the_gateway(judges: Judges, door: Door, tmp_path: Path) -> None:
    seen = await use_typescript_client(judges, door.url, door.token, tmp_path)
    assert seen.pop("unknown") in (True, -32602)
    assert seen == {
        "server": seen["server"],
        "capabilities": ["tools"],
        "tools": list(door.tools),
        "text": "This is a simple text response for testing.",
        "image": "image/png",
        "failed": True,
        "progress": [0, 50, 100],
    }
