"""What bad integrations cost a turn that does not use them: the same turn with and without them listed, interleaved.

One accepts and never answers, one is down, one lists ten thousand tools, one answers garbage. Times in milliseconds,
medians; the last line is JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.e2e.process.deployment import Deployment, Shipped, running_deployment, switched_on, write_manifest

ROUNDS = 20
LIMIT_MS = 1000.0
MODEL = "open-persona/grant-draft"
GOOD: Mapping[str, Mapping[str, str] | Shipped] = {"alpha": {"search": "read"}}


def app(answer: Any) -> Starlette:
    """A server that answers every request by ``answer``."""
    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST", "DELETE"])])


async def hang(_: Request) -> Response:
    await asyncio.Event().wait()
    return Response()


async def garbage(_: Request) -> Response:
    return PlainTextResponse("{not json", media_type="application/json")


async def flood(request: Request) -> Response:
    if request.method == "GET":
        return JSONResponse({"status": "ok"})
    tools = [{"name": f"tool{n}", "description": "d" * 50, "inputSchema": {"type": "object"}} for n in range(10_000)]
    asked = await request.json()
    return JSONResponse({"jsonrpc": "2.0", "id": asked.get("id"), "result": {"tools": tools}})


def bad_ones(root: Path) -> dict[str, Mapping[str, str] | Shipped]:
    found: dict[str, Mapping[str, str] | Shipped] = {}
    for name, answer in (("hanging", hang), ("garbage", garbage), ("flooding", flood), ("dying", garbage)):
        write_manifest(root, name, 1024, {"find": "read"})
        found[name] = Shipped(app(answer), root / name)
    return found


async def timed(deployment: Deployment) -> float:
    begun = time.perf_counter()
    answer = await deployment.chat("go", model=MODEL, meta=switched_on("alpha"))
    assert answer.text == "hello", answer
    return (time.perf_counter() - begun) * 1000


async def measure(tmp: Path) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        alone = await stack.enter_async_context(running_deployment(tmp / "alone", integrations=GOOD))
        crowd = {**GOOD, **bad_ones(tmp / "shipped")}
        beside = await stack.enter_async_context(running_deployment(tmp / "beside", integrations=crowd))
        await beside.stop("dying")
        for deployment in (alone, beside) * 3:
            await timed(deployment)
        times: dict[str, list[float]] = {"alone": [], "beside": []}
        for _ in range(ROUNDS):
            times["alone"].append(await timed(alone))
            times["beside"].append(await timed(beside))
        slowest = max(times["beside"])
    alone_ms, beside_ms = statistics.median(times["alone"]), statistics.median(times["beside"])
    found = {"alone": alone_ms, "beside": beside_ms, "added": beside_ms - alone_ms, "slowest": slowest}
    return {name: round(value, 1) for name, value in found.items()}


def main() -> int:
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="open-persona-bench-") as folder:
        found = asyncio.run(measure(Path(folder)))
    print(f"{'a turn that does not use them':32}{'ms':>10}")
    for name, value in found.items():
        print(f"{name:32}{value:10.1f}")
    good = found["added"] <= LIMIT_MS and found["slowest"] <= found["alone"] + LIMIT_MS
    print(json.dumps({"bench": "neighbours", "within_limits": good, "limit_ms": LIMIT_MS, "rows": found}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
