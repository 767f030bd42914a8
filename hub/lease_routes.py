"""``PUT`` and ``DELETE /api/v1/leases/{id}``: for the sidecar, with the service key."""

from __future__ import annotations

import re

from fastapi import APIRouter, Depends, Request, Response
from starlette.requests import ClientDisconnect

from hub.errors import BadLeaseError
from hub.leases import MAX_BODY_BYTES, read_lease
from hub.routes import NO_STORE, Here, body_of, key_holder, known_host
from hub.wire import LeaseAnswer

lease_router = APIRouter(prefix="/api/v1/leases", dependencies=[Depends(known_host), Depends(key_holder)])

LEASE_ID = re.compile(r"[0-9a-f]{32}")
"""The hex of a UUID."""


@lease_router.put("/{lease_id}")
async def put_lease(lease_id: str, request: Request, hub: Here) -> Response:
    """Store or renew a lease in full."""
    _check_id(lease_id)
    try:
        lease = read_lease(await body_of(request, MAX_BODY_BYTES))
    except ClientDisconnect:
        raise BadLeaseError("the body", "did not come whole") from None
    expires_in_s = hub.leases.put(lease_id, lease)
    answer = LeaseAnswer(expires_in_s=expires_in_s, boot_id=hub.board.boot_id)
    return Response(answer.model_dump_json(), media_type="application/json", headers=NO_STORE)


@lease_router.delete("/{lease_id}", status_code=204)
async def delete_lease(lease_id: str, hub: Here) -> Response:
    """End a lease and its calls; 204 for an unknown one too."""
    _check_id(lease_id)
    hub.leases.delete(lease_id)
    return Response(status_code=204, headers=NO_STORE)


def _check_id(lease_id: str) -> None:
    if not LEASE_ID.fullmatch(lease_id):
        raise BadLeaseError("id", "is not the hex of a UUID")
