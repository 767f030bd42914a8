"""The sidecar's API key comes before all else: without it a caller learns nothing, not even which routes exist."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sidecar.errors import InvalidRequest, SidecarError, Unauthorized
from sidecar.identity import check_api_key
from sidecar.openai_models import error_body
from sidecar.seam import at_door

OPEN = "/healthz"


class KeyFirst:
    """ASGI middleware: 401 on every route but ``/healthz`` and the broker, which asks for a runner's token."""

    def __init__(self, app: ASGIApp, key: Callable[[], SecretStr]) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != OPEN and not at_door(scope["path"]):
            try:
                check_api_key(Headers(scope=scope).get("authorization"), self._key())
            except Unauthorized as error:
                await JSONResponse(error_body(error), status_code=error.status)(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def http_error(_request: Request, error: Exception) -> JSONResponse:
    """What the framework refuses (no such route, wrong method), in OpenAI's shape."""
    assert isinstance(error, HTTPException)
    message = {404: "There is no such route.", 405: "This route does not take that method."}
    shown: SidecarError = InvalidRequest(message.get(error.status_code, str(error.detail)))
    return JSONResponse(error_body(shown), status_code=error.status_code, headers=error.headers)
