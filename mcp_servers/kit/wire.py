"""One exchange with an upstream over HTTP: same host only, bounded in time and size, judged by its status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import TypeVar

import httpx
from pydantic import JsonValue

from mcp_servers.kit.calls import Credential, Policy, Request
from mcp_servers.kit.clock import Clock
from mcp_servers.kit.errors import (
    AccessForbidden,
    AnswerTooBig,
    Code,
    CredentialError,
    InvalidCredentials,
    NotFound,
    PlanRequired,
    RateLimited,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from mcp_servers.kit.retry import retry_after_s

MAX_REDIRECTS = 3

F = TypeVar("F", bound=CredentialError | UpstreamError)


class Wire:
    """Sends requests below one base URL and turns whatever goes wrong into a failure that names ``title``."""

    def __init__(
        self,
        base_url: str,
        *,
        title: str,
        policy: Policy,
        advice: Mapping[Code, str],
        headers: Mapping[str, str],
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self._base = httpx.URL(base_url.rstrip("/"))
        self._title = title
        self._policy = policy
        self._advice = advice
        self._headers = {"Accept": "application/json", "User-Agent": "open-persona", **headers}
        self._clock = clock
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def exchange(self, request: Request, credential: Credential, longest_s: float) -> tuple[JsonValue, int]:
        """The JSON of a 2xx answer and its size in bytes. Raises a CredentialError or UpstreamError for all else."""
        body, _ = await self.receive(request, credential, longest_s)
        return self._parsed(body), len(body)

    async def receive(self, request: Request, credential: Credential, longest_s: float) -> tuple[bytes, httpx.Headers]:
        """The body of a 2xx answer as it is, and its headers. Raises as ``exchange`` does."""
        try:
            async with asyncio.timeout(min(self._policy.attempt_timeout_s, longest_s)):
                status, headers, body = await self._send(request, credential)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise self._failure(UpstreamTimeout, "did not answer in time") from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise self._failure(UpstreamUnavailable, "could not be reached") from error
        self._judge(status, headers)
        return body, headers

    async def _send(self, request: Request, credential: Credential) -> tuple[int, httpx.Headers, bytes]:
        client = self._client = self._client or self._build_client()
        url = self._base.copy_with(raw_path=self._base.raw_path.rstrip(b"/") + b"/" + request.path.lstrip("/").encode())
        url = url.copy_merge_params(dict(request.params)) if request.params else url
        for _ in range(MAX_REDIRECTS + 1):
            outgoing = client.build_request(
                request.method,
                url,
                headers=dict(credential.headers),
                json=request.json_body if request.method == "POST" else None,
            )
            response = await client.send(outgoing, stream=True)
            try:
                if response.next_request is None:
                    return response.status_code, response.headers, await self._body(response)
                url = self._same_origin(response.next_request.url)
            finally:
                await response.aclose()
        raise self._failure(UpstreamRefused, "answered with too many redirects")

    def _same_origin(self, url: httpx.URL) -> httpx.URL:
        if (url.scheme, url.host, url.port) != (self._base.scheme, self._base.host, self._base.port):
            raise self._failure(UpstreamRefused, "answered with a redirect to another host, which was not followed")
        return url

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self._policy.max_response_bytes:
                raise self._failure(AnswerTooBig, "sent an answer that is too big to read")
        return bytes(body)

    def _build_client(self) -> httpx.AsyncClient:
        # A proxy from the environment is for the world outside, never for a service on this machine.
        loopback = self._base.host in {"127.0.0.1", "localhost", "::1"}
        # uvicorn and many proxies drop an idle connection after 5 s: give it up first.
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=4)
        return httpx.AsyncClient(
            headers=self._headers,
            timeout=self._policy.attempt_timeout_s,
            follow_redirects=False,
            limits=limits,
            transport=self._transport,
            trust_env=not loopback,
        )

    def _judge(self, status: int, headers: httpx.Headers) -> None:
        match status:
            case 401:
                raise self._failure(InvalidCredentials, "does not accept the key")
            case 402:
                raise self._failure(PlanRequired, "has no API access on this account's plan")
            case 403:
                raise self._failure(AccessForbidden, "does not let this key read that")
            case 404:
                raise self._failure(NotFound, "has no such record")
            case 429:
                wait = retry_after_s(headers.get("retry-after"), self._clock.now())
                advice = self._advice.get("rate_limited")
                raise RateLimited(f"{self._title} gets too many calls.", retry_after_s=wait, what_to_do=advice)
            case 408:
                raise self._failure(UpstreamTimeout, "did not answer in time")
            case _ if status >= 500:
                raise self._failure(UpstreamUnavailable, f"has a fault of its own (HTTP {status})")
            case _ if not 200 <= status < 300:
                raise self._failure(UpstreamRefused, f"refused the request (HTTP {status})")

    def _parsed(self, body: bytes) -> JsonValue:
        try:
            value: JsonValue = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise self._failure(UpstreamUnavailable, "answered with something other than JSON") from error
        return value

    def _failure(self, kind: type[F], what: str) -> F:
        return kind(f"{self._title} {what}.", what_to_do=self._advice.get(kind.code))
