"""Which tools reach the model: captured in the request that arrives at a recording provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.process.deployment import Deployment, running_deployment, switched_on
from tests.fakes.provider import Reply, ToolCall

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

LISTED = {
    "alpha": {"search": "read", "save": "write", "wipe": "destructive"},
    "beta": {"lookup": "read", "post": "write"},
    **{f"other{n}": {"find": "read", "keep": "write"} for n in "abcdefgh"},
}
FILES = ["edit", "glob", "grep", "read", "write"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with running_deployment(tmp_path_factory.mktemp("tools"), integrations=LISTED) as running:
        yield running


async def offered(deployment: Deployment, **options: object) -> list[str]:
    answer = await deployment.chat("what can you do?", **options)
    assert answer.terminals == ["stop"], answer
    return deployment.provider.requests[-1].tool_names


DRAFT = "open-persona/grant-draft"
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no meta": ({"model": DRAFT}, []),
    "on": ({"model": DRAFT, "meta": switched_on("alpha")}, ["alpha_save", "alpha_search"]),
    "off": ({"model": DRAFT, "meta": {"integrations": {"alpha": {"enabled": False}}}}, []),
    "one tool only": ({"model": DRAFT, "meta": switched_on(alpha=["search"])}, ["alpha_search"]),
    "destructive, named": ({"model": DRAFT, "meta": switched_on(alpha=["wipe"])}, ["alpha_wipe"]),
    "two integrations": (
        {"model": DRAFT, "meta": switched_on("alpha", "beta")},
        ["alpha_save", "alpha_search", "beta_lookup", "beta_post"],
    ),
    "plan": (
        {"model": "open-persona/plan", "picked": "planner", "meta": switched_on("alpha", "beta")},
        ["alpha_search", "beta_lookup"],
    ),
    "build without a template": (
        {"model": "open-persona/build", "picked": "own", "meta": switched_on("beta")},
        ["beta_lookup", "beta_post"],
    ),
    "files of a template": ({"model": "open-persona/izzy"}, FILES),
    "bare build": ({"model": "open-persona/build"}, FILES),
    "bare plan": ({"model": "open-persona/plan"}, ["glob", "grep", "read"]),
}


@pytest.mark.requirement("tools:exactly-the-personas")
@pytest.mark.parametrize("case", CASES)
async def test_the_model_is_offered_exactly_what_the_persona_switches_on(deployment: Deployment, case: str) -> None:
    options, expected = CASES[case]
    assert await offered(deployment, **options) == expected


@pytest.mark.requirement("tools:others-cost-nothing")
async def test_listed_integrations_that_are_off_cost_no_byte(deployment: Deployment) -> None:
    assert await offered(deployment, model=DRAFT, meta=switched_on("alpha")) == ["alpha_save", "alpha_search"]
    raw = deployment.provider.requests[-1].raw.decode()
    assert [name for name in LISTED if name in raw] == ["alpha"]
    assert "mcp_resource" not in raw


async def test_a_call_of_a_tool_that_is_off_is_not_made(deployment: Deployment) -> None:
    deployment.provider.script([Reply(tools=[ToolCall("alpha_save", {"words": "x"})]), "done"])
    answer = await deployment.chat("save x", model=DRAFT, meta=switched_on(alpha=["search"]))
    deployment.provider.script("hello")
    assert answer.text == "done"
    assert "found" not in deployment.provider.requests[-1].tool_results[-1]


@pytest.mark.requirement("tools:call-and-result")
async def test_a_tool_that_is_on_is_called_and_its_progress_shown(deployment: Deployment) -> None:
    deployment.provider.script([Reply(tools=[ToolCall("alpha_search", {"words": "rivers"})]), "two rivers"])
    answer = await deployment.chat("look for rivers", model=DRAFT, meta=switched_on("alpha"))
    deployment.provider.script("hello")
    assert deployment.provider.requests[-1].tool_results == ["alpha.search found: rivers"]
    assert answer.text == "two rivers"
    assert "Alpha: search …" in answer.statuses
    assert "Alpha: search: done" in answer.statuses
