"""``GET /open-persona/users`` on Open WebUI itself: whom it knows, by hash. No name, no address.

``open-persona users`` asks it, to tell whose data nobody can come back to.
"""

from __future__ import annotations

import hashlib
import os

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import webui_tables as tables
from .settings import Settings
from .status_route import App, is_known

PATH = "/open-persona/users"


def attach(app: App) -> None:
    """Puts the route before all others: Open WebUI's last one answers everything with its page."""
    settings = Settings.from_environment(os.environ)

    async def endpoint(request: Request) -> Response:
        if not is_known(request.headers.get("authorization", ""), settings.sidecar_api_key):
            return JSONResponse({"detail": "Bear the sidecar's API key."}, status_code=401)
        hashes = sorted(user_hash(person.id) for person in await tables.people())
        return JSONResponse({"users": hashes}, headers={"cache-control": "no-store"})

    app.router.routes.insert(0, Route(PATH, endpoint, methods=["GET"]))


def user_hash(user_id: str) -> str:
    """The user's name in the sidecar: the first 16 hex digits of the id's SHA-256."""
    return hashlib.sha256(user_id.encode("utf-8", "backslashreplace")).hexdigest()[:16]
