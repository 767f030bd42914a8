"""The running hub, its parts in the order in which they start and end, and the ASGI app in front of it."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from hub.access import Access
from hub.approval_routes import approval_router
from hub.approvals import Approvals
from hub.audit import Audit
from hub.board import Board
from hub.catalog import Catalog, load_catalog
from hub.doors import Doors, open_gateway
from hub.errors import KeyRequiredError, RequestError
from hub.events import EventStreams
from hub.folder import Folder
from hub.follow import RESCAN_S, Follower
from hub.history import History
from hub.lease_routes import lease_router
from hub.leases import Leases
from hub.mcp_http import open_client
from hub.metrics import Metrics
from hub.monitor import Monitor
from hub.probe import Now, Prober, utc_now
from hub.routes import NO_STORE, Hub, own, router
from hub.settings import HubSettings

logger = logging.getLogger(__name__)


@asynccontextmanager
async def open_hub(settings: HubSettings, now: Now = utc_now, *, rescan_s: float = RESCAN_S) -> AsyncIterator[Hub]:
    """The running hub: begins to check at once, and has ended everything it began when the block is left.

    It looks for new, changed and removed integrations every ``rescan_s`` seconds.

    Raises:
        SettingsError, HistoryError: it can't start; the message is for the operator.
    """
    folder = Folder(settings.mcp_servers_dir)
    catalog = load_catalog(folder)
    _warn_of_unknown(settings, catalog)
    board = Board(catalog, secrets.token_hex(8), disabled=settings.hub_disabled, mcp_host=settings.mcp_host, now=now)
    metrics, history = Metrics(board), History(settings.home / "hub.db")
    audit = Audit(metrics.registry, now)
    events, approvals = EventStreams(board, audit.log), Approvals(board, history, audit, now)
    async with AsyncExitStack() as stack:
        await history.open()
        stack.push_async_callback(history.close)
        client = await stack.enter_async_context(open_client())
        prober = Prober(client, now)
        monitor = Monitor(board, history, prober, mcp_host=settings.mcp_host, observe=metrics.observe, now=now)
        stack.push_async_callback(monitor.close)
        await monitor.start()
        stack.callback(events.close)
        access, leases = Access(settings), Leases()
        stack.callback(audit.flush)
        metrics.by_integration.append(audit.calls)
        gateway = await stack.enter_async_context(
            open_gateway(
                board=board,
                leases=leases,
                client=client,
                access=access,
                audit=audit,
                check=monitor.check_now,
                mcp_host=settings.mcp_host,
            )
        )
        follower = Follower(folder, board, monitor, gateway.gone, rescan_s=rescan_s)
        stack.push_async_callback(follower.close)
        follower.start()
        yield Hub(board, monitor, history, metrics, events, access, now, leases, gateway, audit, approvals)


def create_app(hub: Hub) -> Doors:
    """The HTTP face of a running hub: the runners' gateway, and the hub's own routes behind it."""
    app = FastAPI(title="Open Persona hub", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.hub = hub
    app.include_router(own)
    app.include_router(router)
    app.include_router(lease_router)
    app.include_router(approval_router)
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    return Doors(app, hub.gateway, hub.access, hub.audit)


def _warn_of_unknown(settings: HubSettings, catalog: Catalog) -> None:
    unknown = settings.hub_disabled - catalog.names
    if unknown:
        logger.warning("OPEN_PERSONA_HUB_DISABLED names no integration: %s", ", ".join(sorted(unknown)))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    headers = dict(NO_STORE)
    if isinstance(error, KeyRequiredError):
        # A browser asks its user only for basic authentication, and only the pages take that.
        pages = request.url.path in ("/", "/status")
        headers["WWW-Authenticate"] = 'Basic realm="Open Persona hub"' if pages else "Bearer"
    return _error(error.status, error.code, error.message, error.action, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    action = "The routes are listed in docs/reference/hub-api.md."
    headers = {**NO_STORE, **(error.headers or {})}
    return _error(error.status_code, "http_error", f"{error.detail}: {request.method} on this path.", action, headers)


def _error(status: int, code: str, message: str, action: str, headers: dict[str, str]) -> Response:
    body = {"error": {"code": code, "message": message, "action": action}}
    return JSONResponse(body, status, headers=headers)
