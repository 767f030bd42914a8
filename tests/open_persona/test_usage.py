"""``open-persona usage``: the table, the JSON and a refusal, against the sidecar's wire format."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest
from pydantic import SecretStr
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from open_persona.errors import ServiceUnreachable
from open_persona.sidecar_api import SidecarApi
from open_persona.usage import usage
from tests.fakes.asgi_server import serve_app
from tests.open_persona.stand_ins import KEY


def entry(persona: str, user: str, day: str, calls: int, tokens: tuple[int, int]) -> Mapping[str, object]:
    who = {"day": day, "user": user, "persona": persona, "provider": "openai", "model": "gpt"}
    return {**who, "calls": calls, "input_tokens": tokens[0], "output_tokens": tokens[1]}


ROWS = [
    entry("drafter", "aaaa", "2026-03-02", 1, (10, 5)),
    entry("izzy", "bbbb", "2026-03-02", 2, (1000, 50)),
    entry("izzy", "bbbb", "2026-03-01", 3, (2000, 50)),
    entry("[odd]", "aaaa", "2026-03-01", 1, (1, 1)),
]


async def answer(request: Request) -> Response:
    if request.headers["authorization"] != f"Bearer {KEY}":
        return JSONResponse({"error": {"message": "That was refused."}}, 401)
    days = int(request.query_params["days"])
    return JSONResponse({"days": days, "rows": ROWS if days > 1 else []})


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with serve_app(Starlette(routes=[Route("/v1/open-persona/usage", answer)])) as served:
        yield served


async def printed(url: str, days: int, *, as_json: bool = False, key: str = KEY) -> str:
    paper = io.StringIO()
    async with httpx.AsyncClient(trust_env=False) as http:
        sidecar = SidecarApi(url, http, SecretStr(key))
        assert await usage(sidecar, days, Console(file=paper, width=100), as_json=as_json) == 0
    return paper.getvalue()


@pytest.mark.requirement("usage:shown")
async def test_the_table_has_one_line_per_persona_and_user_and_a_sum(url: str) -> None:
    lines = [line.split() for line in (await printed(url, 30)).splitlines() if line.strip()]
    assert lines == [
        ["persona", "user", "calls", "tokens", "in", "tokens", "out"],
        ["izzy", "bbbb", "5", "3,000", "100"],
        ["drafter", "aaaa", "1", "10", "5"],
        ["[odd]", "aaaa", "1", "1", "1"],
        ["all", "7", "3,011", "106"],
    ]


async def test_json_is_what_the_sidecar_answered(url: str) -> None:
    assert json.loads(await printed(url, 7, as_json=True)) == {"days": 7, "rows": ROWS}


async def test_nothing_used_is_said(url: str) -> None:
    assert "No model was called in the last day." in await printed(url, 1)


async def test_a_refusal_is_told_in_the_sidecars_words(url: str) -> None:
    with pytest.raises(ServiceUnreachable, match="refused"):
        await printed(url, 30, key="wrong")
