"""The turns that run now: who they are, what their runner may call, and what the broker saw of the provider."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from sidecar.errors import ProviderError
from sidecar.settings import ProviderName


@dataclass
class ProviderNote:
    """What the broker saw in one turn.

    ``failure`` is the last failure that no later call made good; its message is for the user. ``failures`` counts those
    since the last success. ``relayed``: at least one byte of an answer reached the runner. ``stopped``: a failure was
    final, and every further call is refused; opencode then ends the turn by itself, at once, with the text that had
    arrived. ``failed`` is set when it calls once more all the same: its end need not be waited for. Tokens are the sums
    of what the provider reported; ``input_tokens`` holds the cached ones too.
    """

    failure: ProviderError | None = None
    failures: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    relayed: bool = False
    stopped: bool = False
    failed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class RunningTurn:
    """One turn, from its start to its end. All but ``session_id`` and ``note`` is fixed.

    ``models`` holds ``provider/model``; ``keys`` the provider keys of this turn, which the runner never sees.
    ``address`` is the only one from which its token is taken; empty: any.
    """

    turn_id: str
    user_hash: str
    persona_id: str
    token: SecretStr
    models: frozenset[str]
    keys: Mapping[ProviderName, SecretStr] = field(default_factory=dict)
    address: str = ""
    session_id: str = ""
    note: ProviderNote = field(default_factory=ProviderNote)
    _calls: set[asyncio.Task[None]] = field(default_factory=set, init=False, repr=False)
    _closed: bool = field(default=False, init=False, repr=False)

    @contextlib.contextmanager
    def holding(self, call: asyncio.Task[None]) -> Iterator[None]:
        """While inside, ``call`` is cancelled when the turn ends."""
        self._calls.add(call)
        if self._closed:
            call.cancel()
        try:
            yield
        finally:
            self._calls.discard(call)

    async def end_calls(self) -> None:
        """Cancel the model calls in flight and wait until they are gone; later ones are cancelled at once."""
        self._closed = True
        calls = [call for call in self._calls if call is not asyncio.current_task()]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


class TurnRegistry:
    """Finds the running turns of a runner by its token. In memory only: a restart ends every turn.

    Each of ``ended`` is called with every turn that has ended, after its last model call.
    """

    def __init__(self, *ended: Callable[[RunningTurn], None]) -> None:
        self._ended = ended
        self._turns: dict[bytes, list[RunningTurn]] = {}
        # A digest under a secret of this process: what the look-up's timing tells says nothing of a token.
        self._secret = secrets.token_bytes(32)

    @contextlib.asynccontextmanager
    async def open(self, turn: RunningTurn) -> AsyncIterator[RunningTurn]:
        """The turn runs inside; at the end its model calls in flight are cancelled and no new one is found."""
        digest = self._digest(turn.token.get_secret_value())
        turns = self._turns.setdefault(digest, [])
        turns.append(turn)
        try:
            yield turn
        finally:
            turns.remove(turn)
            if not turns and self._turns.get(digest) is turns:
                del self._turns[digest]
            try:
                await turn.end_calls()
            finally:
                for told in self._ended:
                    told(turn)

    def for_token(self, token: str) -> tuple[RunningTurn, ...]:
        """The running turns of the runner that bears ``token``, oldest first; none for an unknown one."""
        return tuple(self._turns.get(self._digest(token), ())) if token else ()

    @property
    def running(self) -> tuple[RunningTurn, ...]:
        return tuple(turn for turns in self._turns.values() for turn in turns)

    async def aclose(self) -> None:
        """End the model calls of every turn."""
        for turn in self.running:
            await turn.end_calls()
        self._turns.clear()

    def _digest(self, token: str) -> bytes:
        return hmac.digest(self._secret, token.encode("utf-8", "surrogateescape"), "sha256")
