"""A reverse proxy that adds a token to every request, for a judge that cannot send headers of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade"})


@asynccontextmanager
async def adding_bearer(url: str, token: str) -> AsyncIterator[str]:
    """While the block runs, what comes to the URL that it gives goes on to ``url`` with ``token``.

    Everything else stays as it came, the ``Host`` and ``Origin`` of the request too; answers are passed on as they
    come.
    """
    target = urlsplit(url)

    async with aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None)) as client:

        async def relay(request: web.Request) -> web.StreamResponse:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
            headers["Authorization"] = f"Bearer {token}"
            to = f"{target.scheme}://{target.netloc}{request.rel_url}"
            body = await request.read()
            async with client.request(
                request.method, to, data=body or None, headers=headers, allow_redirects=False
            ) as answer:
                response = web.StreamResponse(status=answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in HOP_BY_HOP:
                        response.headers.add(name, value)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", relay)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}{target.path}"
        finally:
            await runner.cleanup()
