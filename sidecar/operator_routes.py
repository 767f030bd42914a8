"""What an operator reads of the sidecar: metrics, and who used how many tokens."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from sidecar.errors import InvalidRequest
from sidecar.metrics import CONTENT_TYPE
from sidecar.routes import services
from sidecar.store import UsageRow

router = APIRouter()
DEFAULT_DAYS = 30
MAX_DAYS = 3660


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    return Response(services(request).metrics.render(), media_type=CONTENT_TYPE)


@router.get("/v1/open-persona/usage")
async def usage(request: Request) -> JSONResponse:
    """The token usage of the last ``days`` days, one row per day, user hash, persona and model."""
    held = services(request)
    days = _days(request.query_params.get("days", str(DEFAULT_DAYS)))
    rows = await held.usage.rows(days)
    return JSONResponse({"days": days, "rows": [_as_json(row) for row in rows]})


def _days(text: str) -> int:
    days = int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0
    if not 1 <= days <= MAX_DAYS:
        raise InvalidRequest(f"days must be a whole number from 1 to {MAX_DAYS}.", param="days")
    return days


def _as_json(row: UsageRow) -> dict[str, object]:
    return {
        **row.key._asdict(),
        "calls": row.calls,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
    }
