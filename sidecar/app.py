"""The sidecar's ASGI app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from sidecar import operator_routes, runner_routes, user_routes
from sidecar.access import KeyFirst, http_error
from sidecar.errors import SidecarError
from sidecar.routes import error_response, router
from sidecar.seam import RunnerSeam
from sidecar.services import run_services
from sidecar.settings import Settings
from sidecar.streaming import finish_turns

FINISH_S = 5.0


def create_app(settings: Settings) -> FastAPI:
    """The OpenAI surface and the broker; services live as long as the app's lifespan."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with run_services(settings) as services:
            app.state.services = services
            app.router.routes.extend(services.broker.routes())
            yield
            await finish_turns(FINISH_S)

    app = FastAPI(title="Open Persona sidecar", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.add_exception_handler(SidecarError, error_response)
    app.add_exception_handler(HTTPException, http_error)
    app.include_router(router)
    app.include_router(operator_routes.router)
    app.include_router(runner_routes.router)
    app.include_router(user_routes.router)
    app.add_middleware(KeyFirst, key=lambda: settings.sidecar_api_key)
    app.add_middleware(
        RunnerSeam,
        is_runner=lambda scope: scope["app"].state.services.turns.pool.holds_token,
        subnets=settings.runner_subnets,
    )
    return app
