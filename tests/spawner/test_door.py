"""The server itself, before a Docker that hangs or talks nonsense: whatever happens, an answer in Docker's shape."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from spawner import door as doors
from spawner import engine as engines
from spawner.door import Door
from spawner.engine import Engine
from spawner.errors import EngineError, EngineTimeout
from spawner.settings import SpawnerSettings

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def hanging(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(-1)


def saying(answer: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    return talk


@asynccontextmanager
async def docker_that(talk: Talk, folder: Path) -> AsyncIterator[Path]:
    """A socket where Docker's would be, and something else behind it."""
    path = folder / "engine.sock"
    talks: list[asyncio.Task[None]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(asyncio.create_task(answer(reader, writer)))

    server = await asyncio.start_unix_server(accept, str(path))
    try:
        yield path
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*talks), 5)


@asynccontextmanager
async def spawner_before(engine_socket: Path, folder: Path) -> AsyncIterator[aiohttp.ClientSession]:
    settings = SpawnerSettings(data_dir=folder)
    async with Engine(engine_socket) as engine:
        door = Door(engine, settings)
        runner = web.ServerRunner(web.Server(door.handle, handler_cancellation=True), shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, str(folder / "own.sock")).start()
        connector = aiohttp.UnixConnector(str(folder / "own.sock"), limit=0)
        try:
            async with aiohttp.ClientSession("http://docker", connector=connector) as client:
                yield client
        finally:
            await door.close()
            await runner.cleanup()


@pytest.mark.requirement("spawner:load")
async def test_a_docker_that_hangs_costs_a_deadline(tmp_path: Path) -> None:
    async with docker_that(hanging, tmp_path) as path, Engine(path) as engine:
        with pytest.raises(EngineTimeout):
            await engine.call("GET", "/_ping", deadline_s=0.2)


@pytest.mark.requirement("spawner:load")
async def test_a_docker_that_is_not_there_is_told(tmp_path: Path) -> None:
    async with spawner_before(tmp_path / "nobody.sock", tmp_path) as client:
        answer = await client.get("/v1.41/networks")
        assert answer.status == 502
        assert "can't be reached" in (await answer.json())["message"]


@pytest.mark.requirement("spawner:load")
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnonsense!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n[]",
        b"not HTTP at all\r\n\r\n",
        b"",
    ],
    ids=["not JSON", "cut", "not HTTP", "nothing"],
)
async def test_a_docker_that_talks_nonsense_is_told(answer: bytes, tmp_path: Path) -> None:
    async with docker_that(saying(answer), tmp_path) as path, spawner_before(path, tmp_path) as client:
        told = await client.get("/v1.41/networks")
        assert told.status == 502
        assert list(await told.json()) == ["message"]


@pytest.mark.requirement("spawner:load")
async def test_an_answer_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "MAX_ANSWER", 100)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n" + b"x" * 200
    async with docker_that(saying(answer), tmp_path) as path, Engine(path) as engine:
        with pytest.raises(EngineError, match="too long"):
            await engine.call("GET", "/networks")


@pytest.mark.requirement("spawner:load")
async def test_calls_beyond_the_bound_wait_and_are_then_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "CALLS_AT_ONCE", 2)
    monkeypatch.setattr(doors, "WAIT_S", 0.1)
    release = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]")

    async with docker_that(slow, tmp_path) as path, spawner_before(path, tmp_path) as client:
        calls = [asyncio.create_task(client.get("/v1.41/networks")) for _ in range(3)]
        done, waiting = await asyncio.wait(calls, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result().status for task in done] == [503]
        release.set()
        assert [answer.status for answer in await asyncio.gather(*waiting)] == [200, 200]
