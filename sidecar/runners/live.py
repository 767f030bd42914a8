"""A runner that answers: its client, its events, the config that it has loaded, and the turns that it runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, cast

import aiohttp

from sidecar.cleanup import complete
from sidecar.errors import Reason, RunnerError, SidecarError
from sidecar.event_stream import EventStream
from sidecar.opencode_client import OpencodeClient
from sidecar.opencode_config import OpencodeConfig
from sidecar.runners.base import LastingRunner, Runner, RunnerSpec, TellsOfMemory
from sidecar.runners.directories import write_config

log = logging.getLogger(__name__)
WATCH_S = 0.25
LAST_WORD_S = 1.0
WEDGED_S = 10.0
"""How long one look at a runner may take that is to run a turn: on a busy machine one may be silent for some seconds,
and to start it again would cost more of them."""

UNHEARD_LOOKS, BUSY_LOOKS = 2, 6
"""How many looks in a row it may fail while turns run in it: with no event from it meanwhile, and with some."""

OnStart = Callable[[str, OpencodeClient], Awaitable[None]]
"""Called with the user and the client of a runner that was just started or taken over, before any turn of it."""

State = Literal["running", "paused", "in turn"]


class Say(Protocol):
    """Takes a line that the user should see; ``done`` when the step that it speaks of is over."""

    def __call__(self, line: str, *, done: bool = False) -> None: ...


@dataclass(eq=False)
class LiveRunner:
    """``connected`` maps an MCP server to what it showed when it was connected; ``gone`` is set at its end.

    ``turns`` counts those that run now, ``quiet`` is set while there are none; ``alone``: the one that runs wants no
    other beside it. ``used_at`` is the monotonic time of the last one's end. ``outdated``: it would be made otherwise
    today. ``stale``: what it has loaded may be another config than ``loaded``.
    """

    runner: Runner
    client: OpencodeClient
    events: EventStream
    loaded: OpencodeConfig
    turns: int = 0
    alone: bool = False
    paused: bool = False
    outdated: bool = False
    stale: bool = False
    used_at: float = field(default_factory=time.monotonic)
    since: float = field(default_factory=time.time)
    connected: dict[str, str] = field(default_factory=dict)
    servers_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    _ears: list[Say] = field(default_factory=list)
    _fault: SidecarError | None = None
    _watcher: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.quiet.set()

    @property
    def spec(self) -> RunnerSpec:
        return self.runner.spec

    @property
    def state(self) -> State:
        if self.turns:
            return "in turn"
        return "paused" if self.paused else "running"

    @classmethod
    async def launch(cls, runner: Runner, config: OpencodeConfig, http: aiohttp.ClientSession) -> LiveRunner:
        """Starts ``runner`` and follows its events. Raises ``RunnerError``; nothing is left running then."""
        begun = time.monotonic()
        client = OpencodeClient(await runner.start(), runner.spec.password, http)
        live = cls(runner, client, EventStream(client), config)
        try:
            await live._follow()
        except BaseException:
            await complete(live.end())
            raise
        log.info("runner %s is ready after %.1f s", runner.spec.name, time.monotonic() - begun)
        return live

    @classmethod
    async def adopt(cls, runner: LastingRunner, http: aiohttp.ClientSession) -> LiveRunner:
        """Takes over a runner that an earlier sidecar has started, and ends what its turns have left running.

        Raises ``RunnerError`` where it can't be taken over; it is let go then, not stopped.
        """
        client = OpencodeClient(await runner.adopt(), runner.spec.password, http)
        live = cls(runner, client, EventStream(client), OpencodeConfig(runner.spec.config_text), stale=True)
        try:
            await client.version(timeout_s=WEDGED_S)
            for session in await client.busy_sessions():
                await client.abort(session)
            await live._follow()
        except BaseException:
            await complete(live.let_go())
            raise
        log.info("runner %s is taken over", runner.spec.name)
        return live

    async def _follow(self) -> None:
        if isinstance(self.runner, TellsOfMemory):
            self.runner.on_oom = self.short_of_memory
        await self.events.open()
        self._watcher = asyncio.create_task(self._watch())

    async def end(self) -> None:
        """Stops it; no error when it is gone already."""
        self.gone.set()
        try:
            await self.let_go()
        finally:
            await self.runner.stop()
        log.info("runner %s is stopped", self.spec.name)

    async def end_for(self, message: str, reason: Reason = "quota") -> None:
        """Stops it; its running turns fail at once, with ``message``."""
        if self._fault is None:
            self._fault = RunnerError(message, reason=reason)
        await complete(self.end())

    async def let_go(self) -> None:
        """Follows it no longer; it runs on."""
        if self._watcher is not None:
            self._watcher.cancel()
        await self.events.close()

    def loss(self) -> SidecarError:
        """What its turns are told of its end."""
        if self._fault is not None:
            return self._fault
        ending = self.runner.ending
        if ending == "oom":
            return RunnerError(
                "The agent needed more memory than a workspace may have, and was stopped. "
                "Send the message again, and ask for less at once.",
                reason="out_of_memory",
            )
        if ending == "removed":
            return RunnerError(
                "Your workspace's runner was removed in the middle of the answer. "
                "Send the message again; it starts afresh with your files.",
                reason="runner_lost",
            )
        return RunnerError(
            "The agent engine ended in the middle of the answer. Send the message again; it starts afresh.",
            reason="runner_lost",
        )

    def short_of_memory(self) -> None:
        """A program in it was ended for want of memory, and maybe opencode with it: then ``gone`` is set, too."""
        for say in self._ears:
            say("Your workspace ran out of memory, and a program in it was ended.", done=True)

    def enter(self, say: Say, *, alone: bool) -> None:
        """One more turn runs in it; ``say`` hears what happens to it."""
        self.turns += 1
        self._ears.append(say)
        self.alone = alone
        self.quiet.clear()

    def leave(self, say: Say) -> None:
        """One of its turns is over."""
        self.turns -= 1
        self._ears.remove(say)
        self.alone = False
        self.used_at = time.monotonic()
        if self.turns == 0:
            self.quiet.set()

    async def answers(self) -> bool:
        """Whether it runs and its HTTP is not wedged."""
        if self.gone.is_set() or await self.runner.poll() is not None:
            return False
        looks = unheard = 0
        while True:
            begun = time.monotonic()
            try:
                await self.client.version(timeout_s=WEDGED_S)
            except RunnerError as error:
                looks += 1
                unheard = 0 if self.events.heard_at > begun else unheard + 1
                # A kept connection may have ended while it was paused; one that is open and silent is no such case.
                # On a busy machine turns can keep it from answering; they would be lost with it.
                silent = "no answer" in error.detail
                busy = bool(self.turns) and unheard < UNHEARD_LOOKS and looks < BUSY_LOOKS
                if not (busy if silent else looks == 1):
                    log.warning("runner %s: %s", self.spec.name, error.detail)
                    return False
            else:
                return True

    @property
    def lasting(self) -> LastingRunner:
        """Only where the mode's runners are lasting."""
        return cast(LastingRunner, self.runner)

    async def pause(self) -> None:
        """Sets it aside, with its memory. Its event connection ends: nothing can tell it from a dead one meanwhile."""
        await self.events.close()
        try:
            await self.lasting.pause()
            self.paused = True
        except BaseException:
            await complete(self.events.open())
            raise
        log.info("runner %s is paused", self.spec.name)

    async def resume(self) -> None:
        """Raises ``RunnerError``; it is to be ended then."""
        await self.lasting.resume()
        self.paused = False
        await self.events.open()

    async def load(self, config: OpencodeConfig) -> None:
        """Makes ``config`` the one that is loaded, unless a turn runs: a dispose would cut it.

        A load that failed or was cancelled half way is done again by the next one.
        """
        if (self.stale or self.spec.config_text != config.text) and not self.turns:
            await complete(self._load(config))

    async def _load(self, config: OpencodeConfig) -> None:
        spec = RunnerSpec(**{**vars(self.spec), "config_text": config.text})
        await asyncio.to_thread(write_config, spec)
        if self.stale or self.loaded.reload_key != config.reload_key:
            self.connected.clear()
            await self.client.dispose()
            self.loaded, self.stale = config, False
            log.info("runner %s has loaded a changed config", spec.name)
        self.runner.spec = spec

    async def _last_word(self, runner: Runner) -> None:
        """A container that is removed by force ends first: that it was removed is told a moment later."""
        deadline = time.monotonic() + LAST_WORD_S
        while runner.ending == "exited" and time.monotonic() < deadline:  # noqa: ASYNC110 - it is told once, or never
            await asyncio.sleep(WATCH_S / 5)

    async def _watch(self) -> None:
        """Sets ``gone`` soon after the runner ended by itself, so that a turn need not wait for its deadline."""
        while await self.runner.poll() is None:  # noqa: ASYNC110 - not every mode has an end to await
            await asyncio.sleep(WATCH_S)
        if isinstance(self.runner, TellsOfMemory):
            await self._last_word(self.runner)
        log.warning("runner %s ended by itself (%s)", self.spec.name, self.runner.ending or "unknown")
        self.gone.set()
        await self.events.close()
