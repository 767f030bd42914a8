"""One running program: started with one set of settings, greeted, asked, and ended so that nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from mcp_servers.child import die_with, how_it_ended, signal_group
from mcp_servers.stdio.conversation import MAX_LINE, Conversation, ConversationOver, JsonObject, Progress, Refused
from mcp_servers.stdio.guard import Guard
from mcp_servers.stdio.recipe import Recipe, Values
from mcp_servers.stdio.redaction import Redaction
from mcp_servers.stdio.watch import end_all_of

logger = logging.getLogger(__name__)

START_S = 120.0
"""From the start to the end of the handshake: ``npx`` and ``uvx`` may fetch the program first."""

STDIN_GRACE_S = 1.0
TERM_GRACE_S = 0.7
"""Between closing its input and SIGTERM, and between that and SIGKILL. Both fit into the launcher's own patience."""

MAX_PAGES = 50
LINE_LIMIT = 8192
"""Bytes of a line of a program's log that are kept."""

_CLIENT = {"name": "open-persona", "version": "1"}
_MODERN = {
    "io.modelcontextprotocol/protocolVersion": MODERN_PROTOCOL_VERSIONS[-1],
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": _CLIENT,
}


class StartFailed(Exception):
    """The program did not come up; the text says why, in words that follow its name."""


@dataclass(frozen=True)
class Surroundings:
    """What all programs of one bridge share."""

    recipe: Recipe
    guard: Guard
    environ: Mapping[str, str]
    output: Callable[[str], None]
    """Gets each line of a program's log, redacted, its pid in front."""


class Program:
    """Made by :func:`start`. ``ended`` is set once it has gone, ``problem`` then says how, in words after its name."""

    def __init__(
        self, process: asyncio.subprocess.Process, home: Path, around: Surroundings, redact: Redaction
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        self.ended = asyncio.Event()
        self.problem = ""
        self._process = process
        self._home = home
        self._around = around
        self._redact = redact
        self._stop = asyncio.Event()
        self._meta: JsonObject = {}
        self._conversation = Conversation(process.stdout, process.stdin, self._say)
        self._life = asyncio.create_task(self._live(), name=f"program {process.pid}")

    async def tools(self) -> list[JsonObject]:
        """All pages of ``tools/list``. Raises Refused and ConversationOver."""
        found: list[JsonObject] = []
        cursor: object = None
        for _ in range(MAX_PAGES):
            page = await self._request("tools/list", {"cursor": cursor} if cursor is not None else {})
            listed = page.get("tools")
            found += [tool for tool in listed if isinstance(tool, dict)] if isinstance(listed, list) else []
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str):
                return found
        raise Refused(-32603, f"the list of tools has more than {MAX_PAGES} pages")

    async def call(self, tool: str, arguments: JsonObject, progress: Progress | None) -> JsonObject:
        """The result of ``tools/call`` as it came. Raises Refused and ConversationOver."""
        return await self._request("tools/call", {"name": tool, "arguments": arguments}, progress)

    async def stop(self) -> None:
        """Its input closed, then SIGTERM, then SIGKILL; returns when nothing of it is left."""
        self._stop.set()
        await asyncio.shield(self._life)

    async def greet(self) -> None:
        """The handshake, or for a program of the modern era alone ``server/discover``."""
        wanted = {"protocolVersion": HANDSHAKE_PROTOCOL_VERSIONS[-1], "capabilities": {}, "clientInfo": _CLIENT}
        try:
            answer = await self._request("initialize", wanted)
        except Refused:
            self._meta = _MODERN
            await self._request("server/discover", {})
            return
        if answer.get("protocolVersion") not in HANDSHAKE_PROTOCOL_VERSIONS:
            raise Refused(-32603, "it speaks a protocol version that is not known here")
        await self._conversation.notify("notifications/initialized")

    async def _request(self, method: str, params: JsonObject, progress: Progress | None = None) -> JsonObject:
        full = {**params, "_meta": self._meta} if self._meta else params
        return await self._conversation.request(method, full, progress)

    async def _live(self) -> None:
        process = self._process
        logging_ = asyncio.create_task(self._relay())
        talking = asyncio.create_task(self._conversation.run())
        over = [talking, asyncio.create_task(process.wait()), asyncio.create_task(self._stop.wait())]
        try:
            await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
            if process.returncode is not None:
                await asyncio.wait({talking}, timeout=0.5)  # what it wrote last
        finally:
            await self._end(talking, logging_)
            for task in over:
                task.cancel()
            self.problem = how_it_ended(process.returncode)
            self.ended.set()

    async def _end(self, *reading: asyncio.Task[None]) -> None:
        process = self._process
        assert process.stdin is not None
        try:
            process.stdin.close()
            await self._exit_within(STDIN_GRACE_S)
            signal_group(process.pid, signal.SIGTERM)
            await self._exit_within(TERM_GRACE_S)
        finally:
            signal_group(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
            await asyncio.wait(reading, timeout=1)
            for task in reading:
                task.cancel()
            # A pipe may be paused, or held by what left the group.
            process._transport.close()  # type: ignore[attr-defined]
            await asyncio.to_thread(end_all_of, str(self._home))
            await asyncio.to_thread(shutil.rmtree, self._home, ignore_errors=True)
            self._around.guard.release(process.pid)

    async def _exit_within(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._process.wait()

    async def _relay(self) -> None:
        """Its log, line by line; what is too long is cut, so that no half of a secret gets through."""
        stream = self._process.stderr
        assert stream is not None
        rest, skipping = b"", False
        while chunk := await stream.read(LINE_LIMIT):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if not skipping:
                    self._say(line.decode(errors="replace").rstrip("\r"))
                skipping = False
            if len(rest) > LINE_LIMIT:
                if not skipping:
                    self._say(f"(a line of more than {LINE_LIMIT} bytes is left out)")
                rest, skipping = b"", True
        if rest and not skipping:
            self._say(rest.decode(errors="replace"))

    def _say(self, line: str) -> None:
        if line:
            self._around.output(f"{self.pid}: {self._redact(line)[:LINE_LIMIT]}")


async def start(around: Surroundings, values: Values) -> Program:
    """A program that has answered the handshake.

    Raises:
        StartFailed: it could not be started, ended, or did not answer in :data:`START_S`.
        ValueError: a value can't be an argument; the text is the setting's key.
    """
    recipe = around.recipe
    arguments = recipe.arguments(values)
    home = Path(tempfile.mkdtemp(prefix=f"open-persona-{recipe.name}-"))
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            env=recipe.environment(values, around.environ, home),
            cwd=home,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            preexec_fn=die_with(os.getpid()),
            limit=MAX_LINE,
        )
    except BaseException as error:
        shutil.rmtree(home, ignore_errors=True)
        if not isinstance(error, OSError | ValueError):
            raise
        told = error.strerror if isinstance(error, OSError) else "a setting can't be in an argument or a variable"
        raise StartFailed(f"cannot be started: {told}") from None
    around.guard.hold(process.pid, home)
    program = Program(process, home, around, Redaction(recipe.integration.settings, values))
    try:
        async with asyncio.timeout(START_S):
            await program.greet()
    except (TimeoutError, Refused, ConversationOver) as error:
        await program.stop()
        raise StartFailed(_why(error, program)) from None
    except BaseException:
        await program.stop()
        raise
    return program


def _why(error: Exception, program: Program) -> str:
    if isinstance(error, TimeoutError):
        return f"did not answer within {START_S:g} s of its start"
    if isinstance(error, Refused):
        return "speaks no MCP that is known here"
    return error.problem if isinstance(error, ConversationOver) and error.problem else program.problem


def to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
