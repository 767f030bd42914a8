"""Small servers that speak the hub's and the sidecar's wire format, for tests of what the command makes of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from hub.wire import CatalogView, IntegrationView, ProbeResult
from sidecar.personas import parse_meta

KEY = "the-api-key"
DONE = "data: [DONE]"


def view(name: str, **given: object) -> IntegrationView:
    """A healthy integration, but for what is given."""
    return IntegrationView.model_validate(
        {
            "name": name,
            "title": name.title(),
            "admin_state": "enabled",
            "health": "healthy",
            "url": "http://x/mcp",
            **given,
        }
    )


@dataclass
class SidecarScript:
    """Answers with ``lines``; keeps the headers and bodies that it got. ``cut`` ends the stream without ``[DONE]``."""

    lines: list[str] = field(default_factory=list)
    cut: bool = False
    status: int = 200
    seen: list[tuple[dict[str, str], dict[str, object]]] = field(default_factory=list)

    async def chat(self, request: Request) -> Response:
        self.seen.append((dict(request.headers), await request.json()))
        if request.headers["authorization"] != f"Bearer {KEY}" or self.status != 200:
            return JSONResponse({"error": {"message": "That was refused."}}, self.status if self.status != 200 else 401)

        async def stream() -> object:
            for line in [": heartbeat", *self.lines, *([] if self.cut else [DONE])]:
                yield f"{line}\n\n"
                await asyncio.sleep(0)

        return StreamingResponse(stream(), media_type="text/event-stream")  # type: ignore[arg-type]

    async def config(self, request: Request) -> Response:
        meta = parse_meta(request.headers["x-openpersona-meta-b64"])
        key = request.headers["authorization"]
        return JSONResponse({"on": list(meta.enabled_integrations), "options": {"apiKey": key, "ref": "{env:TOKEN}"}})

    async def models(self, request: Request) -> Response:
        right = request.headers.get("authorization") == f"Bearer {KEY}"
        return JSONResponse({"data": []}, 200 if right else 401)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/healthz", _fine),
                Route("/v1/models", self.models),
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/open-persona/config", self.config, methods=["POST"]),
            ]
        )


@dataclass
class HubScript:
    """Shows ``integrations``; a probe makes its integration healthy."""

    integrations: list[IntegrationView] = field(default_factory=list)
    probed: list[str] = field(default_factory=list)
    ready: bool = True
    body: str = ""

    async def catalog(self, _: Request) -> Response:
        catalog = CatalogView(revision="r", boot_id="b", integrations=tuple(self.integrations))
        return PlainTextResponse(self.body or catalog.model_dump_json())

    async def probe(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({}, 401)
        name = request.path_params["name"]
        self.probed.append(name)
        self.integrations = [view(one.name) if one.name == name else one for one in self.integrations]
        result = {"name": name, "at": "2026-01-01T00:00:00Z", "ok": True, "stage": "done", "latency_ms": 1}
        return PlainTextResponse(ProbeResult.model_validate(result).model_dump_json())

    async def readyz(self, _: Request) -> Response:
        return JSONResponse({}, 200 if self.ready else 503)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/healthz", _fine),
                Route("/readyz", self.readyz),
                Route("/api/v1/integrations", self.catalog),
                Route("/api/v1/integrations/{name}/probe", self.probe, methods=["POST"]),
            ]
        )


async def _fine(_: Request) -> Response:
    return JSONResponse({"status": "ok"})
