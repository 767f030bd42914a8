"""A toggle is changed, or an integration dies, while another chat of the same user runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.process.deployment import Deployment, running_deployment, switched_on
from tests.fakes.provider import Reply

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    listed = {"alpha": {"search": "read"}, "beta": {"lookup": "read"}}
    async with running_deployment(tmp_path_factory.mktemp("toggle"), integrations=listed) as running:
        yield running


@pytest.mark.requirement("toggle:next-turn")
async def test_the_next_turn_has_it_and_the_running_one_is_not_disturbed(deployment: Deployment) -> None:
    gate = asyncio.Event()
    options = {"model": "open-persona/grant-draft", "picked": "drafter"}
    await deployment.chat("warm up", meta=switched_on("alpha"), **options)
    live = deployment.services.turns.pool.live[0]
    loaded, url = live.loaded, live.client.url
    disposed: list[object] = []
    original = live.client.dispose
    live.client.dispose = lambda: disposed.append(1) or original()  # type: ignore[method-assign,func-returns-value]
    deployment.provider.script([Reply(text=["slow ", "answer"], gate=gate), "quick"])
    count = len(deployment.provider.requests)
    slow = asyncio.create_task(deployment.chat("wait", meta=switched_on("alpha"), **options))
    await deployment.provider.wait_requests(count + 1)
    assert (await deployment.chat("now", meta=switched_on("beta"), **options)).text == "quick"
    assert deployment.provider.requests[-1].tool_names == ["beta_lookup"]
    gate.set()
    assert (await slow).text == "slow answer"
    deployment.provider.script("later")
    await deployment.chat("after", meta=switched_on("alpha", "beta"), **options)
    assert deployment.provider.requests[-1].tool_names == ["alpha_search", "beta_lookup"]
    assert deployment.services.turns.pool.live == (live,)
    assert (live.loaded, live.client.url, disposed) == (loaded, url, [])
