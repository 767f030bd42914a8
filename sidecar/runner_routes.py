"""What an operator sees of the runners and does to them: list, log, restart, stop."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from sidecar.errors import InvalidRequest, SidecarError
from sidecar.openai_models import error_body
from sidecar.routes import services
from sidecar.runners.live import LiveRunner
from sidecar.runners.pool import RunnerPool

router = APIRouter(prefix="/v1/open-persona/runners")
MAX_LINES = 10_000


@router.get("")
async def listed(request: Request) -> JSONResponse:
    """The live runners, those that are being started and those that wait for it, by name."""
    pool = _pool(request)
    shown = [_as_json(live) for live in pool.live if not live.gone.is_set()]
    now = pool.starting_now
    shown += [_to_be(user, name, "starting" if user in now else "waiting") for user, name in pool.starting.items()]
    return JSONResponse({"runners": sorted(shown, key=lambda one: str(one["name"]))})


@router.get("/{name}/logs")
async def logs(request: Request, name: str) -> Response:
    """The last ``lines`` lines that it has written, as text."""
    lines = _lines(request.query_params.get("lines", "200"))
    return PlainTextResponse(await _pool(request).logs(name, lines))


@router.post("/{name}/restart")
async def restart(request: Request, name: str) -> Response:
    """Ends a live runner and starts it again; 409 while a turn runs in it, unless ``force=true``."""
    done = await _pool(request).restart(name, force=_forced(request))
    return JSONResponse({"name": name, "restarted": True}) if done else _unknown(name)


@router.delete("/{name}")
async def stop(request: Request, name: str) -> Response:
    """Ends and removes a runner; the user's next turn starts another. 409 as above."""
    done = await _pool(request).stop(name, force=_forced(request))
    return JSONResponse({"name": name, "stopped": True}) if done else _unknown(name)


def _pool(request: Request) -> RunnerPool:
    return services(request).turns.pool


def _as_json(live: LiveRunner) -> dict[str, object]:
    """``idle_s`` is 0 in a turn, ``since`` when this sidecar started it or took it over, in seconds since 1970."""
    return {
        "name": live.spec.name,
        "user": live.spec.workspace_hash,
        "state": live.state,
        "turns": live.turns,
        "idle_s": 0 if live.turns else round(time.monotonic() - live.used_at),
        "since": round(live.since),
    }


def _to_be(user: str, name: str, state: str) -> dict[str, object]:
    return {"name": name, "user": user, "state": state, "turns": 0, "idle_s": 0, "since": None}


def _forced(request: Request) -> bool:
    return request.query_params.get("force", "").lower() in ("1", "true")


def _lines(text: str) -> int:
    lines = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if not 1 <= lines <= MAX_LINES:
        raise InvalidRequest(f"lines must be a whole number from 1 to {MAX_LINES}.", param="lines")
    return lines


def _unknown(name: str) -> JSONResponse:
    shown: SidecarError = InvalidRequest(f"There is no runner '{name[:80]}'.", param="name")
    return JSONResponse(error_body(shown), status_code=404)
