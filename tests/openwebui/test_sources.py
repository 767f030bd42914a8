"""Following hub and sidecar, with servers that answer, fall silent, hang, or are something else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from openwebui import sources as module
from openwebui.settings import Settings
from openwebui.sources import Sources
from tests.fakes.asgi_server import serve_app

ENTRY = {"name": "weather", "title": "Weather", "health": "healthy"}


class Deployment:
    """Answers as a hub and a sidecar; a test changes what they say."""

    def __init__(self) -> None:
        self.revision = 1
        self.models: Response | None = JSONResponse({"data": [{"id": "open-persona/izzy"}]})
        self.streams = True
        self.hangs = asyncio.Event()
        self.news = asyncio.Event()
        self.asked = asyncio.Event()

    async def integrations(self, request: Request) -> Response:
        self.asked.set()
        return JSONResponse({"revision": str(self.revision), "integrations": [ENTRY]})

    async def events(self, request: Request) -> Response:
        return StreamingResponse(self._told()) if self.streams else Response(status_code=404)

    async def _told(self) -> AsyncIterator[bytes]:
        while True:
            yield f"event: revision\ndata: {json.dumps({'revision': self.revision})}\n\n".encode()
            await self.news.wait()
            self.news.clear()

    async def listed(self, request: Request) -> Response:
        if request.headers["authorization"] != "Bearer k":
            return Response(status_code=401)
        if self.models is None:
            await self.hangs.wait()
        return self.models or Response()

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/v1/integrations", self.integrations),
                Route("/api/v1/events", self.events),
                Route("/v1/models", self.listed),
            ]
        )


@asynccontextmanager
async def following(deployment: Deployment, key: str = "k") -> AsyncIterator[Sources]:
    async with serve_app(deployment.app) as url, aiohttp.ClientSession() as session:
        sources = Sources(Settings((f"{url}/v1",), SecretStr(key), url), session)
        tasks = [asyncio.create_task(each) for each in (sources.follow_hub(), sources.follow_sidecar())]
        try:
            yield sources
        finally:
            deployment.hangs.set()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def until(sources: Sources, found: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not found():
            await sources.changed.wait()
            sources.changed.clear()


@pytest.mark.requirement("seed:follows")
async def test_each_revision_of_the_hub_is_read_at_once() -> None:
    deployment = Deployment()
    async with following(deployment) as sources:
        await until(sources, lambda: not sources.waiting_for)
        assert sources.models == ("open-persona/izzy",)
        deployment.revision = 2
        deployment.news.set()
        await until(sources, lambda: sources.catalog is not None and sources.catalog.revision == "2")


@pytest.mark.requirement("seed:follows")
async def test_without_a_stream_the_catalog_is_polled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.01)
    deployment = Deployment()
    deployment.streams = False
    async with following(deployment) as sources:
        await until(sources, lambda: sources.catalog is not None)
        deployment.revision = 2
        await until(sources, lambda: sources.catalog is not None and sources.catalog.revision == "2")


@pytest.mark.requirement("seed:follows")
async def test_a_stream_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STREAM", aiohttp.ClientTimeout(total=None, sock_read=0.05))
    monkeypatch.setattr(module, "FIRST_RETRY_S", 0.01)
    deployment = Deployment()
    async with following(deployment) as sources:
        await until(sources, lambda: sources.catalog is not None)
        deployment.revision = 2  # and no event tells of it
        await until(sources, lambda: sources.catalog is not None and sources.catalog.revision == "2")


@pytest.mark.requirement("seed:follows")
async def test_one_that_hangs_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REQUEST", aiohttp.ClientTimeout(total=0.1))
    deployment = Deployment()
    deployment.models = None
    async with following(deployment) as sources:
        await until(sources, lambda: "does not answer in time" in sources.sidecar_problem)
        assert sources.known.models is None


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Response("<html>", media_type="text/html"), "does not answer as it should"),
        (JSONResponse({"data": "x" * 100_000}), "answers with more than"),
        (RedirectResponse("http://127.0.0.1:9/"), "answers with HTTP 307"),
        (Response("[" * 40_000, media_type="application/json"), "does not answer as it should"),
    ],
    ids=["page", "flood", "redirect", "nested"],
)
async def test_something_else_is_told(monkeypatch: pytest.MonkeyPatch, answer: Response, said: str) -> None:
    monkeypatch.setattr(module, "LARGEST", 50_000)
    deployment = Deployment()
    deployment.models = answer
    async with following(deployment) as sources:
        await until(sources, lambda: said in sources.sidecar_problem)


async def test_a_refused_key_is_told_and_not_shown() -> None:
    async with following(Deployment(), key="not-the-key") as sources:
        await until(sources, lambda: "HTTP 401" in sources.sidecar_problem)
        assert "not-the-key" not in sources.sidecar_problem


@pytest.mark.requirement("seed:follows")
async def test_a_hub_that_went_away_is_silent_after_a_while() -> None:
    now = 0.0
    async with aiohttp.ClientSession() as session:
        sources = Sources(Settings(("http://127.0.0.1:9/v1",), hub_url="http://127.0.0.1:9"), session, lambda: now)
        following_hub = asyncio.create_task(sources.follow_hub())
        await until(sources, lambda: "takes no connection" in sources.hub_problem)
        assert not sources.known.hub_is_silent
        now = module.SILENT_AFTER_S + 1
        assert sources.known.hub_is_silent
        following_hub.cancel()
        await asyncio.wait({following_hub})
