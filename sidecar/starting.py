"""What keeps the sidecar from starting, in one line instead of a traceback."""

from __future__ import annotations

from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar.errors import SidecarError


class WatchedStart:
    """Passes everything on to ``app``; keeps in ``fault`` what kept it from starting, in one line."""

    def __init__(self, app: ASGIApp, home: Path) -> None:
        self._app = app
        self._home = home
        self.fault = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._start(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _start(self, scope: Scope, receive: Receive, send: Send) -> None:
        failed: Message | None = None

        async def watched(message: Message) -> None:
            nonlocal failed
            if message["type"] == "lifespan.startup.failed":
                failed = message  # holds the whole traceback
            else:
                await send(message)

        try:
            await self._app(scope, receive, watched)
        except BaseException as error:
            if failed is None:
                raise
            self.fault = start_fault(error, self._home)
            await send({**failed, "message": ""} if self.fault else failed)
            raise


def start_fault(error: BaseException, home: Path) -> str:
    """What the operator can mend, in one line; empty for a fault of ours, which needs its traceback."""
    if isinstance(error, SidecarError):
        return error.message
    if isinstance(error, OSError):
        return f"{error.filename or home}: {error.strerror or error}. Set OPEN_PERSONA_HOME to a folder that you own."
    return ""
