"""A real MCP client on a server's URL, with headers of the caller's own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent
from pydantic import JsonValue

ERAS = ("legacy", "auto")
"""``initialize`` and ``server/discover``."""


@asynccontextmanager
async def connected(url: str, *, mode: str = "auto", headers: Mapping[str, str] | None = None) -> AsyncIterator[Client]:
    """A client for ``<url>/mcp`` that sends ``headers`` with every request."""
    async with httpx2.AsyncClient(headers=dict(headers or {}), timeout=30, trust_env=False) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(transport, mode=mode, cache=None, read_timeout_seconds=30) as client:
            yield client


def text_of(result: CallToolResult) -> str:
    [block] = result.content
    assert isinstance(block, TextContent)
    return block.text


def payload_of(result: CallToolResult) -> dict[str, JsonValue]:
    """The structured content of a success; its text must say the very same."""
    assert not result.is_error, text_of(result)
    payload: dict[str, JsonValue] = json.loads(text_of(result))
    assert result.structured_content == payload
    return payload


def failure_of(result: CallToolResult) -> tuple[str, str]:
    """Code and whole text of an error result of the promised form."""
    text = text_of(result)
    assert result.is_error, text
    first, second, *_ = text.splitlines()
    assert first.startswith("[")
    assert second.startswith("What to do: ")
    return first[1 : first.index("]")], text
