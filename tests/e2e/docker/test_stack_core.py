"""The stack without Open WebUI, as most tests use it: a turn goes through, and nothing is left behind."""

from __future__ import annotations

import pytest

from tests.e2e.docker.stack import docker, running_stack

pytestmark = pytest.mark.real


@pytest.mark.requirement("compose:down")
async def test_a_turn_goes_through_and_nothing_is_left(engine: object) -> None:
    async with running_stack(subnets="10.213.176.0/20") as stack:
        first = await stack.chat("Hi")
        assert (first.status, first.text) == (200, "hello"), first.error
        [runner] = await stack.runners(running=True)
        second = await stack.chat("Hi again", user="ben")
        assert second.text == "hello"
        assert len(await stack.runners(running=True)) == 2
        assert str(stack.home) in str(runner["Mounts"])
    mine = f"label=open-persona.instance={runner['Config']['Labels']['open-persona.instance']}"
    assert await docker("ps", "-aq", "--filter", mine) == ""
    assert await docker("network", "ls", "-q", "--filter", mine) == ""
    assert stack.prefix not in await docker("ps", "-a", "--format", "{{.Names}}")
    assert stack.prefix not in await docker("network", "ls", "--format", "{{.Name}}")
    assert stack.prefix not in await docker("volume", "ls", "--format", "{{.Name}}")
    assert not stack.state.exists()
