"""Requests written byte by byte, from a peer address of choice: what no HTTP client would send."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import NamedTuple

from fastapi import FastAPI

RUNNER = "127.9.0.2"
"""A peer address in ``SUBNETS``: all of 127.0.0.0/8 is this machine, so a test can call from any of it."""
SUBNETS = "127.9.0.0/16"
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "FOO")
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


class Answer(NamedTuple):
    """``head`` are the header lines but ``Date``, in lower case and sorted."""

    status: int
    head: tuple[str, ...]
    body: bytes


def odd_targets(door: str, route: str, origin: str) -> list[str]:
    """Request targets that mean ``route`` to a careless reader, though they begin like the door or like a URL.

    ``door`` ends with a slash, ``route`` begins with one.
    """
    bare = route.lstrip("/")
    up = "../" * door.strip("/").count("/") + "../"
    return [
        f"/{route}",
        f"/{door}{up}{bare}",
        f"{door}{up}{bare}",
        f"{door}%2e%2e/{bare}",
        f"{door}..%2f{bare}",
        f"{door}./{up}{bare}",
        f"{door}x/..;/..{route}",
        f"{door}",
        f"{door.upper()}..{route}",
        f"{door.rstrip('/')}",
        f"{route}?{door}",
        f"{route}#{door}",
        f"{route};{door}",
        f"{route}%00{door}",
        f"{route}/",
        f"{origin}{route}",
        f"{origin}{door}..{route}",
        f"http://elsewhere.example{route}",
    ]


def calls_of(app: FastAPI) -> list[tuple[str, str]]:
    """(method, path) of every route of an app, its parameters filled in."""
    return [
        (method.upper(), re.sub(r"{[^}]*}", "x", path))
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    ]


async def call(
    port: int, method: str, target: str, headers: Iterable[str] = (), *, source: str = "127.0.0.1", host: str = ""
) -> Answer:
    """What the server on ``port`` of this machine answers to a caller with the address ``source``."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host or f'127.0.0.1:{port}'}", "Connection: close", *headers]
    if any(line.startswith("Connection: Upgrade") for line in headers):
        lines.remove("Connection: close")
    return await send(port, "\r\n".join([*lines, "", ""]).encode(), source=source)


async def send(port: int, request: bytes, *, source: str) -> Answer:
    """The answer to ``request`` as it is. Raises ``TimeoutError``."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.lower().strip().split("\r\n")
            length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
            body = b"" if request.startswith(b"HEAD ") else await reader.readexactly(length)
            kept = sorted(line for line in lines if not line.startswith(("date:", "connection:")))
            return Answer(int(status.split()[1]), tuple(kept), body)
        finally:
            writer.close()
