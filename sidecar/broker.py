"""The broker: the only way from a runner to a model provider.

``/llm/{provider}/…`` takes a model call that bears a runner's token, finds that runner's running turn, puts the real
key of the turn in the place of the token, and streams both ways. No turn, no call; what may pass is said in
:mod:`sidecar.broker_policy`, how a provider's failure is told in :mod:`sidecar.broker_failures`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
from pydantic import SecretStr
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sidecar import broker_failures as failures
from sidecar.broker_door import Gone, Reply, disconnected, read_body, runner_token
from sidecar.broker_failures import Failure
from sidecar.broker_policy import Denied, TooBig, checked, parse_body, passed_headers
from sidecar.broker_stream import MAX_LINE_BYTES, LineTooLong, StreamScan
from sidecar.providers import PROVIDERS, Provider
from sidecar.seam import peer_address
from sidecar.settings import Settings
from sidecar.turns import RunningTurn, TurnRegistry

log = logging.getLogger(__name__)

CONNECT_S: Final = 10.0
AFTER_END_S: Final = 5.0
"""How long a provider may keep a stream open after its terminal marker."""
MAX_ERROR_BYTES: Final = 64 * 1024
MIN_REDACTED_CHARS: Final = 12
"""A shorter key could be an ordinary word (``EMPTY`` is a common one) and is not looked for in answers."""


def provider_session() -> aiohttp.ClientSession:
    """The one client for all providers: no cookies kept, no total deadline, as many connections as there are calls."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        headers={"user-agent": "open-persona"},
    )


@dataclass(frozen=True)
class Call:
    """A model call that passed every check."""

    provider: Provider
    turn: RunningTurn
    model: str
    streamed: bool
    url: str
    headers: dict[str, str]
    body: bytes
    secrets: tuple[str, ...]


class _Refused(Exception):
    """The call does not go out. ``why`` is for the audit line."""

    def __init__(self, why: str, failure: Failure, turn: RunningTurn | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.failure = failure
        self.turn = turn


class _Failed(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error.message)
        self.failure = failure


class Broker:
    """An ASGI endpoint for ``routes``. ``http`` comes from :func:`provider_session`; its owner closes it."""

    def __init__(self, settings: Settings, turns: TurnRegistry, http: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._turns = turns
        self._http = http

    def routes(self) -> list[Route]:
        return [Route("/llm/{provider}/{path:path}", self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        provider = PROVIDERS.get(request.path_params["provider"])
        reply = Reply(send, provider or PROVIDERS["openai"])
        with contextlib.suppress(Gone):
            try:
                call = await self._admit(request, provider)
            except _Refused as refusal:
                _audit(refusal, provider)
                await reply.fail(refusal.failure)
            else:
                await self._run(call, reply, receive)

    async def _admit(self, request: Request, provider: Provider | None) -> Call:
        address = str(peer_address(request.scope.get("client")))
        turns = [turn for turn in self._turns.for_token(runner_token(request)) if turn.address in ("", address)]
        if not turns:
            raise _Refused("no turn", failures.denied())
        turn: RunningTurn | None = None
        try:
            known = self._route(request, provider)
            body = checked(known.dialect, parse_body(await read_body(request, self._settings.max_body_bytes)))
            model = str(body["model"])
            turn = _turn_for(turns, request.headers.get("x-session-id", ""), f"{known.name}/{model}")
            key = turn.keys.get(known.name)
            if key is None and known.key == "required":
                raise Denied("no key")
        except Denied as denial:
            note = (turn or turns[0]).note
            if isinstance(denial, TooBig):
                failure = failures.too_large(denial.limit)
                note.failure = failure.error
            else:
                failure = failures.denied()
                note.failure = note.failure or failure.error
            raise _Refused(denial.why, failure, turn or turns[0]) from None
        self._count(turn)
        return self._call(known, turn, model, body, key, passed_headers(known.dialect, request.headers))

    def _route(self, request: Request, provider: Provider | None) -> Provider:
        wanted = f"{provider.prefix.lstrip('/')}/{provider.call}" if provider else ""
        if (
            provider is None
            or provider.name not in self._settings.enabled_providers
            or request.method != "POST"
            or request.path_params["path"] != wanted
            or request.scope["query_string"]
        ):
            raise Denied("route")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Denied("content type")
        return provider

    def _count(self, turn: RunningTurn) -> None:
        """One more call of the turn, or the end of it."""
        note, limit = turn.note, self._settings.turn_steps * 2
        if note.stopped:
            note.failed.set()
            raise _Refused("turn stopped", Failure(note.failure or failures.turn_over().error), turn)
        if note.calls >= limit:
            note.stopped = True
            note.failure = failures.step_limit(limit).error
            raise _Refused("step limit", Failure(note.failure), turn)
        note.calls += 1

    def _call(
        self,
        provider: Provider,
        turn: RunningTurn,
        model: str,
        body: dict[str, object],
        key: SecretStr | None,
        headers: dict[str, str],
    ) -> Call:
        streamed = body.get("stream") is True
        headers |= {
            "accept": "text/event-stream" if streamed else "application/json",
            "accept-encoding": "identity",
            "content-type": "application/json",
            **provider.auth_headers(key),
        }
        return Call(
            provider=provider,
            turn=turn,
            model=model,
            streamed=streamed,
            url=f"{provider.base_url(self._settings)}/{provider.call}",
            headers=headers,
            body=json.dumps(body, separators=(",", ":")).encode(),
            secrets=(key.get_secret_value(),) if key else (),
        )

    async def _run(self, call: Call, reply: Reply, receive: Receive) -> None:
        """The call, until it is done, the runner goes away, or the turn ends."""
        work = asyncio.create_task(self._relay(call, reply))
        gone = asyncio.create_task(disconnected(receive))
        with call.turn.holding(work):
            try:
                await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
                left = gone.done() and not work.done()
            finally:
                work.cancel()
                gone.cancel()
                await asyncio.gather(work, gone, return_exceptions=True)
        if not work.cancelled():
            work.result()
        elif not left:
            await reply.fail(failures.turn_over())

    async def _relay(self, call: Call, reply: Reply) -> None:
        scan = StreamScan(call.provider.dialect, _redactable(call.secrets))
        failure: Failure | None = None
        try:
            await self._pass_on(call, scan, reply)
        except _Failed as error:
            failure = error.failure
        finally:
            call.turn.note.input_tokens += scan.input_tokens
            call.turn.note.output_tokens += scan.output_tokens
        if failure is None:
            call.turn.note.failure = None
            call.turn.note.failures = 0
        else:
            await reply.fail(self._settle(call, failure))

    def _settle(self, call: Call, failure: Failure) -> Failure:
        """Note the failure, and decide whether opencode may ask again."""
        note = call.turn.note
        note.failures += 1
        note.failure = failure.error
        if note.failures > self._settings.provider_retries and failure.retryable:
            failure = failure.final()
        note.stopped = note.stopped or not (failure.retryable or failure.overflow)
        log.info(
            "model call failed: %s status=%s provider=%s user=%s turn=%s final=%s %s",
            *(failure.error.reason, failure.status, call.provider.name, call.turn.user_hash, call.turn.turn_id),
            *(note.stopped, failure.error.detail),
        )
        return failure

    async def _pass_on(self, call: Call, scan: StreamScan, reply: Reply) -> None:
        """Send the call out and its answer back. Raises ``_Failed``."""
        provider, waited = call.provider, self._settings.provider_first_byte_s
        try:
            async with asyncio.timeout(waited) as deadline, await self._open(call) as response:
                await _check_status(call, response)
                if not call.streamed:
                    await reply.write(scan.whole(await _start_of(response, MAX_LINE_BYTES)), "application/json")
                else:
                    async for chunk in response.content.iter_any():
                        lines = scan.feed(chunk)
                        waited = AFTER_END_S if scan.complete else self._settings.provider_idle_s
                        deadline.reschedule(asyncio.get_running_loop().time() + waited)
                        if lines:
                            call.turn.note.relayed = True
                            await reply.write(lines)
                        if scan.error is not None:
                            raise _Failed(failures.failed_in_stream(provider, scan.error, begun=reply.begun))
                    await reply.write(scan.rest())
        except (TimeoutError, aiohttp.ClientError, OSError, LineTooLong) as error:
            if not scan.complete:
                raise _Failed(_failure_of(error, provider, waited, begun=reply.begun)) from None
        if scan.error is not None:
            raise _Failed(failures.failed_in_stream(provider, scan.error, begun=reply.begun))
        if not scan.complete:
            raise _Failed(failures.cut(provider, begun=reply.begun))
        await reply.finish()

    async def _open(self, call: Call) -> aiohttp.ClientResponse:
        """The answer's head. Asks once more where a kept connection turns out to be gone."""
        try:
            return await self._post(call)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            return await self._post(call)

    async def _post(self, call: Call) -> aiohttp.ClientResponse:
        return await self._http.post(call.url, data=call.body, headers=call.headers, allow_redirects=False)


def _turn_for(turns: Sequence[RunningTurn], session: str, model: str) -> RunningTurn:
    """The turn that this call belongs to: by opencode's session where that says so. Raises ``Denied``."""
    own = [turn for turn in turns if session and turn.session_id == session]
    for turn in own or turns:
        if model in turn.models:
            return turn
    raise Denied("model")


async def _check_status(call: Call, response: aiohttp.ClientResponse) -> None:
    kind = response.content_type
    if response.status == 200 and kind == ("text/event-stream" if call.streamed else "application/json"):
        return
    body = await _start_of(response, MAX_ERROR_BYTES)
    if response.status != 200:
        headers = {name.lower(): value for name, value in response.headers.items()}
        raise _Failed(failures.refused(call.provider, call.model, response.status, headers, body, call.secrets))
    raise _Failed(failures.not_a_model(call.provider, "it sent something else than an answer of a model"))


async def _start_of(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The first ``limit`` bytes of the body."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            break
    return bytes(body[:limit])


def _failure_of(error: Exception, provider: Provider, waited: float, *, begun: bool) -> Failure:
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL):
        return failures.unreachable(provider, error)
    if isinstance(error, LineTooLong):
        return failures.not_a_model(provider, "a line of its answer is too long")
    if isinstance(error, TimeoutError):
        return failures.stalled(provider, waited)
    return failures.cut(provider, begun=begun)


def _redactable(secrets: Sequence[str]) -> bytes:
    return next((secret.encode() for secret in secrets if len(secret) >= MIN_REDACTED_CHARS), b"")


def _audit(refusal: _Refused, provider: Provider | None) -> None:
    """One line per refused call: who and why, no contents."""
    turn = refusal.turn
    log.warning(
        "model call refused: %s; provider=%s user=%s persona=%s turn=%s",
        refusal.why,
        provider.name if provider else "unknown",
        turn.user_hash if turn else "-",
        turn.persona_id if turn else "-",
        turn.turn_id if turn else "-",
    )
