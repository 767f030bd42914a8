"""The routes of an operator: who may read them, and what they refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from sidecar.app import create_app
from sidecar.services import Services
from sidecar.settings import Settings
from sidecar.store import UsageKey, UsageRow
from tests.fakes.asgi_server import serve_app

KEY = {"authorization": "Bearer api-key"}


@asynccontextmanager
async def sidecar(home: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Services]]:
    """The sidecar without a hub."""
    settings = Settings(
        home=home,
        sidecar_api_key=SecretStr("api-key"),
        service_key=SecretStr("service-key"),
        token_key=SecretStr("token-key"),
        hub_url="http://127.0.0.1:9",
    )
    app = create_app(settings)
    async with serve_app(app) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client, app.state.services


@pytest.mark.requirement("metrics:key")
async def test_metrics_are_for_the_key_alone(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as (client, _):
        assert (await client.get("/metrics")).status_code == 401
        answer = await client.get("/metrics", headers=KEY)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "open_persona_live_runners 0.0" in answer.text


@pytest.mark.requirement("usage:shown")
async def test_usage_is_for_the_key_alone_and_whole_days(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as (client, services):
        services.turns.store.add_usage([UsageRow(UsageKey("2020-01-01", "u", "izzy", "openai", "gpt"), 1, 10, 5)])
        assert (await client.get("/v1/open-persona/usage")).status_code == 401
        for days in ("0", "-1", "x", "1.5", "99999", "²"):
            refused = await client.get("/v1/open-persona/usage", params={"days": days}, headers=KEY)
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, "days"), days
        recent = await client.get("/v1/open-persona/usage", headers=KEY)
        assert recent.json() == {"days": 30, "rows": []}
        all_days = await client.get("/v1/open-persona/usage", params={"days": 3660}, headers=KEY)
    expected = {"day": "2020-01-01", "user": "u", "persona": "izzy", "provider": "openai", "model": "gpt"}
    assert all_days.json()["rows"] == [expected | {"calls": 1, "input_tokens": 10, "output_tokens": 5}]
