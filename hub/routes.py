"""The hub's HTTP API. Every answer but the page, the metrics and the event stream is JSON; so is every error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel
from starlette.responses import HTMLResponse, JSONResponse, StreamingResponse

from hub.access import Access
from hub.approvals import Approvals
from hub.audit import Audit
from hub.board import Board
from hub.errors import BadQueryError, BodyTooLargeError
from hub.events import EventStreams
from hub.gateway import Gateway
from hub.history import History
from hub.leases import Leases
from hub.metrics import CONTENT_TYPE, Metrics
from hub.monitor import Monitor
from hub.page import render_page
from hub.probe import Now
from hub.wire import HistoryView

BOOT_HEADER = "X-Open-Persona-Hub-Boot"
"""On every catalog answer, 304 included: a new value means that the hub was restarted."""

MAX_HISTORY = 5000
NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


@dataclass(frozen=True)
class Hub:
    """The running parts, made by the app's lifespan."""

    board: Board
    monitor: Monitor
    history: History
    metrics: Metrics
    events: EventStreams
    access: Access
    now: Now
    leases: Leases
    gateway: Gateway
    audit: Audit
    approvals: Approvals


def hub_of(request: Request) -> Hub:
    return cast(Hub, request.app.state.hub)


Here = Annotated[Hub, Depends(hub_of)]


def known_host(request: Request, hub: Here) -> None:
    hub.access.check_host(request.headers)


def page_reader(request: Request, hub: Here) -> None:
    hub.access.check_page(request.headers)


def key_holder(request: Request, hub: Here) -> None:
    hub.access.check_change(request.headers)


own = APIRouter()
"""The hub's own health: for container checks, under whatever name."""

router = APIRouter(dependencies=[Depends(known_host)])


@own.get("/healthz")
async def healthz() -> Response:
    return JSONResponse({"status": "ok"}, headers=NO_STORE)


@own.get("/readyz")
async def readyz(hub: Here) -> Response:
    """503 until every enabled integration has been checked once; each check has a deadline, so this ends."""
    waiting = hub.monitor.unchecked()
    body = {"status": "waiting" if waiting else "ready", "waiting_for": waiting}
    return JSONResponse(body, 503 if waiting else 200, headers=NO_STORE)


@router.get("/", dependencies=[Depends(page_reader)])
async def page(hub: Here) -> Response:
    hub.audit.flush()
    html, policy = render_page(hub.board, hub.now(), hub.audit.log.view().calls)
    return HTMLResponse(html, headers={**NO_STORE, "Content-Security-Policy": policy})


@router.get("/status", dependencies=[Depends(page_reader)])
async def status(hub: Here) -> Response:
    return _json(hub.board.status(), NO_STORE)


@router.get("/api/v1/calls", dependencies=[Depends(page_reader)])
async def calls(hub: Here) -> Response:
    hub.audit.flush()
    return _json(hub.audit.log.view(), NO_STORE)


@router.get("/metrics", dependencies=[Depends(page_reader)])
async def metrics(hub: Here) -> Response:
    return Response(hub.metrics.render(), media_type=CONTENT_TYPE)


@router.get("/api/v1/integrations")
async def integrations(request: Request, hub: Here) -> Response:
    return _tagged(request, hub, hub.board.catalog_view)


@router.get("/api/v1/integrations/{name}", dependencies=[Depends(page_reader)])
async def integration(name: str, request: Request, hub: Here) -> Response:
    detail = hub.board.detail(name)
    return _tagged(request, hub, lambda: detail)


@router.get("/api/v1/integrations/{name}/history", dependencies=[Depends(page_reader)])
async def history(name: str, request: Request, hub: Here) -> Response:
    hub.board.view(name)
    limit = _limit(request)
    entries, changes = await hub.history.entries(name, limit), await hub.history.changes(name, limit)
    return _json(HistoryView(name=name, entries=entries, changes=changes), NO_STORE)


@router.post("/api/v1/integrations/{name}/probe", dependencies=[Depends(key_holder)])
async def probe(name: str, hub: Here) -> Response:
    return _json(await hub.monitor.check_now(name), NO_STORE)


@router.get("/api/v1/events")
async def events(request: Request, hub: Here) -> Response:
    """Open to Open WebUI's seeder, which has no service key, as the catalog is; who calls what is not."""
    calls = request.query_params.get("calls") == "true"
    if calls:
        page_reader(request, hub)
    hub.events.admit()
    headers = {**NO_STORE, "X-Accel-Buffering": "no", BOOT_HEADER: hub.board.boot_id}
    stream = hub.events.listen(calls=calls)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def body_of(request: Request, limit: int) -> bytes:
    """The request's body. Raises BodyTooLargeError."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise BodyTooLargeError(limit)
    return bytes(body)


def _tagged(request: Request, hub: Hub, body: Callable[[], BaseModel]) -> Response:
    """The answer with the revision as its ETag, or 304 where the caller has it."""
    tag = f'"{hub.board.revision}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", BOOT_HEADER: hub.board.boot_id}
    known = {part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")}
    if known & {tag, "*"}:
        return Response(status_code=304, headers=headers)
    return _json(body(), headers)


def _json(model: BaseModel, headers: dict[str, str]) -> Response:
    return Response(model.model_dump_json(), media_type="application/json", headers=headers)


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "200")
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MAX_HISTORY):
        raise BadQueryError("limit is not a usable number.", f"Give a whole number from 1 to {MAX_HISTORY}.")
    return int(text)
