"""``GET /open-persona/status`` on Open WebUI itself: what ``open-persona doctor`` asks. Never the value of a key."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from typing import Any, Protocol

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import webui_tables as tables
from .integration_tools import PREFIX as INTEGRATION
from .provider_tools import DEFAULT_KEYS, KEY_FIELDS, USER_KEYS
from .seed_models import PERSONAS, PREFIX
from .seed_state import SeedState
from .settings import Settings

PATH = "/open-persona/status"


class App(Protocol):
    """What is used of Open WebUI's application."""

    @property
    def router(self) -> Any: ...


def attach(app: App) -> None:
    """Puts the route before all others: Open WebUI's last one answers everything with its page."""
    settings = Settings.from_environment(os.environ)

    async def endpoint(request: Request) -> Response:
        if not is_known(request.headers.get("authorization", ""), settings.sidecar_api_key):
            return JSONResponse({"detail": "Bear the sidecar's API key."}, status_code=401)
        return JSONResponse(await status(request.app.state, settings), headers={"cache-control": "no-store"})

    app.router.routes.insert(0, Route(PATH, endpoint, methods=["GET"]))


async def status(state: object, settings: Settings) -> dict[str, object]:
    """The answer: version, whether the patch is in, how the seeding stands, what is there, who has which key."""
    seeder = getattr(state, "open_persona_seeder", None)
    tools = await tables.tool_ids("open_persona_")
    models = await tables.model_ids()
    personas = {each.id for each in PERSONAS}
    return {
        "webui_version": tables.version(),
        "patched": tables.is_patched(),
        "seed": seeder.state.as_json() if seeder is not None else SeedState().as_json(),
        "tools": [each for each in tools if each in (USER_KEYS, DEFAULT_KEYS) or each.startswith(INTEGRATION)],
        "models": [each for each in models if each.startswith(PREFIX) or each in personas],
        "keys": {
            "users": [
                {"user": person.name, "id": person.id, "set": held}
                for person in await tables.people()
                if (held := _set_in(person.valves(USER_KEYS)))
            ],
            "defaults": _set_in(await tables.admin_valves(DEFAULT_KEYS)),
            "environment": [provider for provider in KEY_FIELDS if provider in settings.default_keys],
        },
    }


def _set_in(valves: Mapping[str, object]) -> list[str]:
    """The providers whose key is not empty there."""
    return [provider for provider, field in KEY_FIELDS.items() if str(valves.get(field) or "").strip()]


def is_known(header: str, key: SecretStr) -> bool:
    """Whether ``header`` bears ``key``; compares in constant time."""
    expected = key.get_secret_value()
    return bool(expected) and hmac.compare_digest(header.encode(), f"Bearer {expected}".encode())
