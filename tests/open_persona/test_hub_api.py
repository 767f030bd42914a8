"""The hub as the command reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr

from open_persona.errors import ServiceUnreachable
from open_persona.hub_api import HubApi
from open_persona.terminal import advice_for, state_of
from tests.fakes.asgi_server import serve_app
from tests.open_persona.stand_ins import KEY, HubScript, view


@pytest.fixture
def script() -> HubScript:
    return HubScript([view("a"), view("b", health="down", reason="refused", action="Start it.")])


@pytest.fixture
async def hub(script: HubScript) -> AsyncIterator[HubApi]:
    async with serve_app(script.app()) as url, httpx.AsyncClient(trust_env=False) as http:
        yield HubApi(url, http, SecretStr(KEY))


async def test_the_catalog_and_a_probe(hub: HubApi) -> None:
    before = await hub.catalog()
    assert [(one.name, state_of(one), advice_for(one)) for one in before.integrations] == [
        ("a", "healthy", ""),
        ("b", "down", "refused: Start it."),
    ]
    assert advice_for(view("old", faults=["old/manifest.yaml:3: bad"], action="Mend it.")) == "Mend it."
    assert (await hub.probe("b")).ok
    assert [one.health for one in (await hub.catalog()).integrations] == ["healthy", "healthy"]


async def test_another_programs_answer_is_an_error(hub: HubApi, script: HubScript) -> None:
    script.body = "<html>"
    with pytest.raises(ServiceUnreachable, match="another program"):
        await hub.catalog()


async def test_no_hub_is_an_error_that_says_how_to_start_one() -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(ServiceUnreachable, match="open-persona up"):
            await HubApi("http://127.0.0.1:9", http).catalog()
