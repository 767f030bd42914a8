"""``POST /api/v1/integrations/{name}/approve``: for the operator, with the service key."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hub.errors import BadApprovalError
from hub.routes import NO_STORE, Here, body_of, key_holder, known_host

approval_router = APIRouter(dependencies=[Depends(known_host), Depends(key_holder)])

MAX_BODY_BYTES = 1024


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tool_fingerprint: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


@approval_router.post("/api/v1/integrations/{name}/approve")
async def approve(name: str, request: Request, hub: Here) -> Response:
    """Accept the tools with this fingerprint; an empty one is that of an empty list."""
    try:
        body = _Body.model_validate_json(await body_of(request, MAX_BODY_BYTES))
    except ValidationError:
        raise BadApprovalError from None
    approval = await hub.approvals.approve(name, body.tool_fingerprint)
    return Response(approval.model_dump_json(), media_type="application/json", headers=NO_STORE)
