"""What a runner may ask of the sidecar: the broker, and nothing else.

A request that bears a runner's token on any other route is answered as a route that does not exist, with one line in
the log. Whose token it is does not matter, nor whether a turn runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger(__name__)
DOOR = "/llm/"

IsRunner = Callable[[str], bool]
"""Whether a text is the token of a runner of this sidecar."""


class RunnerSeam:
    """ASGI middleware; ``is_runner`` is asked for the credential of every request that is not at the door."""

    def __init__(self, app: ASGIApp, is_runner: Callable[[Scope], IsRunner]) -> None:
        self._app = app
        self._is_runner = is_runner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(DOOR):
            tokens = _credentials(Headers(scope=scope))
            if tokens and any(map(self._is_runner(scope), tokens)):
                log.warning("runner call refused: route; method=%s", scope["method"])
                await JSONResponse({"detail": "Not Found"}, status_code=404)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _credentials(headers: Headers) -> list[str]:
    """Every text in which a token could be sent."""
    bearer = [value.partition(" ")[2].strip() for value in headers.getlist("authorization")]
    return [token for token in (*bearer, *headers.getlist("x-api-key")) if token]
