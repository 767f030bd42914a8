"""The end of data: who has any, handing it over, and removing it. For operators, with the API key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from sidecar.errors import InvalidRequest, NotFound, SidecarError
from sidecar.export import export
from sidecar.quota import measure
from sidecar.routes import services
from sidecar.services import Services
from sidecar.store_users import last_used, remove_rows, rows_of, tokens
from sidecar.user_files import HASH, folders_of, remove, touched_at, users_with_files

router = APIRouter()
NONE_USED = {"calls": 0, "input_tokens": 0, "output_tokens": 0}


@router.get("/v1/open-persona/users")
async def users(request: Request) -> JSONResponse:
    """Everybody of whom something is kept: bytes on the disk, last use, whether a runner is up, tokens."""
    held = services(request)
    await held.usage.written()
    live = {runner.spec.workspace_hash for runner in held.turns.pool.live}
    found = await asyncio.to_thread(_users, held, live)
    return JSONResponse({"unused_days": held.settings.unused_days, "users": found})


@router.get("/v1/open-persona/users/{user}/export")
async def export_user(request: Request, user: str) -> Response:
    """All that is kept of one user, as a ``tar.gz``."""
    held = services(request)
    await _require(held, user)
    rows = await asyncio.to_thread(rows_of, held.turns.store.engine, user)
    blocks = export(held.settings.home, user, rows)
    return StreamingResponse(
        _in_thread(blocks),
        media_type="application/gzip",
        headers={"Content-Disposition": f'attachment; filename="open-persona-{user}.tar.gz"'},
    )


@router.delete("/v1/open-persona/users/{user}")
async def remove_user(request: Request, user: str) -> JSONResponse:
    """Ends the user's runner, and removes files and rows. 409 while a turn runs; nothing is removed then."""
    held = services(request)
    await _require(held, user)
    with held.checks.leaving(user):
        await held.turns.pool.reset(user)
        await held.usage.written()
        held.turns.registry.forget(user)
        try:
            await asyncio.to_thread(remove, held.settings.home, user)
        except OSError as error:
            raise SidecarError(
                f"Not all files of {user} could be removed ({error.strerror or error}). Look at the folder's rights, "
                "then run it again."
            ) from None
        await asyncio.to_thread(remove_rows, held.turns.store.engine, held.turns.store.path, user)
    return JSONResponse({"removed": user})


def _users(held: Services, live: set[str]) -> list[dict[str, object]]:
    home, engine = held.settings.home, held.turns.store.engine
    noted, used = last_used(engine), tokens(engine)
    return [
        {
            "user": user,
            **_size(held, user),
            "last_used": _time(max(noted.get(user, 0.0), touched_at(home, user))),
            "live": user in live,
            **used.get(user, NONE_USED),
        }
        for user in sorted(users_with_files(home) | noted.keys() | used.keys() | live)
    ]


def _size(held: Services, user: str) -> dict[str, object]:
    """``whole`` is false where not everything could be counted."""
    size = measure(folders_of(held.settings.home, user))
    return {"bytes": size.taken, "whole": not size.fault}


def _time(at: float) -> str | None:
    """None: nothing tells when. What lies ahead (the end of today) counts as now."""
    now = datetime.now(UTC)
    return min(datetime.fromtimestamp(at, UTC), now).isoformat(timespec="seconds") if at else None


async def _require(held: Services, user: str) -> None:
    """Raises ``InvalidRequest`` and ``NotFound``."""
    if not HASH.fullmatch(user):
        raise InvalidRequest("A user is named by their hash: 16 digits from 0 to f.", param="user")
    noted = await asyncio.to_thread(last_used, held.turns.store.engine)
    if user not in noted and user not in await asyncio.to_thread(users_with_files, held.settings.home):
        raise NotFound(f"Nothing is kept of a user {user}.", param="user")


async def _in_thread(blocks: Generator[bytes, None, None]) -> AsyncIterator[bytes]:
    """Blocks that are waited for elsewhere; the iterator is closed however this ends."""
    try:
        while block := await asyncio.to_thread(next, blocks, b""):
            yield block
    finally:
        await asyncio.shield(asyncio.to_thread(blocks.close))
