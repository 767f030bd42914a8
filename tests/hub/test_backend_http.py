"""The gateway's HTTP client against a server that answers byte by byte as it is told."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from hub.backend_connection import MAX_HEAD_BYTES, PAUSE_BYTES
from hub.backend_http import BackendHttp, place_of
from hub.errors import BackendGarbledError, BackendLostError, ForbiddenAddressError
from hub.gateway_backend import _of_transport

OK = b"HTTP/1.1 200 OK\r\nContent-Type: Application/JSON; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Scripted:
    """A server whose connections each run ``answering`` for every request; it counts them."""

    def __init__(self, answering: Answering) -> None:
        self.answering = answering
        self.requests: list[bytes] = []
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await _head_of(reader):
                self.requests.append(head)
                await self.answering(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()


async def _head_of(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


@asynccontextmanager
async def serving(answering: Answering) -> AsyncIterator[tuple[Scripted, BackendHttp]]:
    scripted, http = Scripted(answering), BackendHttp()
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    try:
        async with asyncio.timeout(10):
            yield scripted, http
    finally:
        http.close()
        server.close()


def saying(*parts: bytes, close: bool = False) -> Answering:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        if close:
            writer.close()

    return answer


async def body_of(http: BackendHttp, url: str) -> tuple[int, bytes]:
    reply = await http.post(url, b"{}", {"Content-Type": "application/json"})
    body = b"".join([chunk async for chunk in reply.chunks()])
    reply.leave()
    return reply.status, body


@pytest.mark.parametrize(
    ("parts", "close", "status", "body", "connections"),
    [
        ([OK], False, 200, b"{}", 1),
        ([OK[:20], OK[20:60], OK[60:]], False, 200, b"{}", 1),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK], False, 200, b"{}", 1),
        ([b"HTTP/1.1 103 Early\r\nContent-Length: 9\r\n\r\n" + OK], False, 200, b"{}", 1),
        ([CHUNKED + b"1\r\n{\r\n", b"1\r\n}\r\n0\r\n\r\n"], False, 200, b"{}", 1),
        ([CHUNKED + b"2\r\n{}\r\n0\r\nContent-Type: text/html\r\n\r\n"], False, 200, b"{}", 1),
        ([b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"], False, 202, b"", 1),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], False, 204, b"", 1),
        ([OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")], False, 200, b"{}", 2),
        ([b"HTTP/1.0 200 OK\r\n\r\n{", b"}"], True, 200, b"{}", 2),
        ([OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"], False, 200, b"{}", 2),
    ],
)  # fmt: skip
@pytest.mark.requirement("gateway:backend-http")
async def test_what_a_server_may_send_is_read_and_the_connection_kept_where_it_can_be(
    parts: list[bytes], close: bool, status: int, body: bytes, connections: int
) -> None:
    async with serving(saying(*parts, close=close)) as (scripted, http):
        assert await body_of(http, scripted.url) == (status, body)
        assert await body_of(http, scripted.url) == (status, body)
        assert scripted.connections == connections


@pytest.mark.parametrize(
    ("parts", "error", "unanswered"),
    [
        ([b""], BackendLostError, True),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"], BackendLostError, False),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}"], BackendLostError, False),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], BackendGarbledError, None),
        ([CHUNKED + b"zz\r\n"], BackendGarbledError, None),
        ([CHUNKED + b"2\r\n{}\r\n0\r\n", *[b"X: " + b"a" * 1000 + b"\r\n"] * 200], BackendGarbledError, None),
        ([CHUNKED + b"2\r\n{}\r\n0\r\nX: ", *[b"a" * 1000] * 200], BackendGarbledError, None),
        ([CHUNKED + b"2;x=", *[b"a" * 1000] * 200], BackendGarbledError, None),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"a" * (MAX_HEAD_BYTES + 1)], BackendGarbledError, None),
    ],
)
@pytest.mark.requirement("gateway:backend-http")
async def test_what_is_no_answer_has_its_error(
    parts: list[bytes], error: type[Exception], unanswered: bool | None
) -> None:
    async with serving(saying(*parts, close=True)) as (scripted, http):
        with pytest.raises(error) as caught:
            await body_of(http, scripted.url)
        assert getattr(caught.value, "unanswered", None) == unanswered


async def test_the_end_of_a_stream_that_is_left_is_taken_and_the_connection_used_again() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(saying(head + b"9\r\ndata: {}\n\r\n", b"1\r\n\n\r\n0\r\n\r\n")) as (scripted, http):
        for _ in range(3):
            reply = await http.post(scripted.url, b"{}", {})
            assert reply.media_type == "text/event-stream"
            assert (await reply.connection.chunk()).startswith(b"data")
            reply.leave()
            while not reply.connection.reusable:
                await asyncio.sleep(0.001)
        assert scripted.connections == 1


async def test_a_stream_that_is_left_and_goes_on_is_closed() -> None:
    gone = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"1\r\n{\r\n")
        await reader.read()
        gone.set()

    async with serving(answer) as (scripted, http):
        reply = await http.post(scripted.url, b"{}", {})
        await reply.connection.chunk()
        reply.leave()
        await gone.wait()
        assert not reply.connection.reusable


async def test_a_flood_waits_at_the_server_until_it_is_read() -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(100):
            writer.write(bytes(1_000_000))
            await writer.drain()
            sent += 1_000_000

    async with serving(flood) as (scripted, http):
        reply = await http.post(scripted.url, b"{}", {})
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 50_000_000  # what the two sockets hold
        read = 0
        async for chunk in reply.chunks():
            read += len(chunk)
            if read > 4 * PAUSE_BYTES:
                break
        reply.close()


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again() -> None:
    async with serving(saying(OK, close=True)) as (scripted, http):
        for _ in range(3):
            assert await body_of(http, scripted.url) == (200, b"{}")
            await asyncio.sleep(0.01)
        assert len(scripted.requests) == 3


async def test_a_request_says_what_it_was_told_and_no_header_can_be_smuggled() -> None:
    async with serving(saying(OK)) as (scripted, http):
        url = scripted.url.replace("/mcp", "/a%20b?c=d")
        (await http.post(url, b"abc", {"X-One": "1"})).leave()
        sent = scripted.requests[0]
        assert sent.startswith(b"POST /a%20b?c=d HTTP/1.1\r\nHost: 127.0.0.1:")
        assert b"\r\nX-One: 1\r\n" in sent
        assert sent.endswith(b"\r\nContent-Length: 3\r\n\r\nabc")
        for value in ("1\r\nX-Two: 2", "ä", "\x00"):
            with pytest.raises(ValueError, match="X-One holds"):
                await http.post(url, b"", {"X-One": value})


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http:///x", "http://127.0.0.1/\r\nX: 1", "http://ä.example/"])
def test_only_urls_that_can_be_sent_are_taken(url: str) -> None:
    with pytest.raises(ValueError, match="HTTP URL"):
        place_of(url)


async def test_a_forbidden_address_behind_a_name_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", ("169.254.169.254", 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    http = BackendHttp()
    with pytest.raises(ForbiddenAddressError):
        await http.post("http://metadata.example/", b"", {})
    http.close()


@pytest.mark.requirement("gateway:backend-http")
async def test_an_address_that_takes_no_connection_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(saying(OK)) as (scripted, http):
        port = int(scripted.url.rpartition(":")[2].partition("/")[0])

        async def getaddrinfo(*_: object, **__: object) -> list[tuple[object, ...]]:
            return [(2, 1, 6, "", (address, port)) for address in ("127.0.0.9", "127.0.0.1")]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.9", port))
            deaf.listen(0)
            waiting = [socket.socket() for _ in range(3)]  # more than its backlog takes
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(("127.0.0.9", port))
            async with asyncio.timeout(2):
                assert await body_of(http, f"http://two.example:{port}/mcp") == (200, b"{}")
            for one in waiting:
                one.close()


def test_a_certificate_that_is_refused_is_no_bad_answer() -> None:
    assert _of_transport(ssl.SSLCertVerificationError(1, "self-signed"), "Bad").outcome == "unreachable"


@pytest.mark.requirement("gateway:backend-http")
async def test_after_an_answer_that_came_before_its_request_was_taken_the_connection_is_not_kept() -> None:
    stay = asyncio.Event()

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await stay.wait()
        writer.close()

    server, http = await asyncio.start_server(early, "127.0.0.1", 0, limit=1024), BackendHttp()
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    async with asyncio.timeout(5):
        for _ in range(2):
            reply = await http.post(url, b" " * 8_000_000, {})
            assert await reply.connection.chunk() == b"{}"
            reply.leave()
            assert not reply.connection.reusable
    stay.set()
    http.close()
    server.close()
