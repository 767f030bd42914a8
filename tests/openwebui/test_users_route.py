"""The list of whom Open WebUI knows: by hash, for the key alone, before Open WebUI's own routes."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from openwebui import users_route, webui_tables
from sidecar.identity import workspace_hash


@dataclass(frozen=True)
class Person:
    id: str


@pytest.mark.requirement("users:known")
async def test_everybody_is_told_by_the_hash_that_the_sidecar_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def people() -> tuple[Person, ...]:
        return Person("ann"), Person("8b1d-é")

    async def page(_: object) -> HTMLResponse:
        return HTMLResponse("<html>")

    monkeypatch.setenv("OPEN_PERSONA_SIDECAR_API_KEY", "the-key")
    monkeypatch.setattr(webui_tables, "people", people)
    app = Starlette(routes=[Route("/{rest:path}", page)])
    users_route.attach(app)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://webui") as client:
        for headers in ({}, {"authorization": "Bearer another"}, {"authorization": "the-key"}):
            assert (await client.get("/open-persona/users", headers=headers)).status_code == 401
        answer = await client.get("/open-persona/users", headers={"authorization": "Bearer the-key"})
    assert answer.json() == {"users": sorted([workspace_hash("ann"), workspace_hash("8b1d-é")])}
    assert answer.headers["cache-control"] == "no-store"
