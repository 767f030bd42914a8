"""What a runner is: one ``opencode serve`` of one user and one key set, behind three verbs; and who makes runners."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from pydantic import SecretStr


@dataclass(frozen=True)
class RunnerSpec:
    """Everything that a runner is made from.

    ``workspace`` is the user's own folder, ``private`` holds the XDG directories and the config of this key set.
    """

    name: str
    workspace_hash: str
    key_sig: str
    workspace: Path
    private: Path
    config_text: str
    token: SecretStr
    password: SecretStr

    @property
    def config_file(self) -> Path:
        return self.private / "config" / "open-persona.json"

    @property
    def data(self) -> Path:
        return self.private / "data"


Ending = Literal["oom", "removed", "exited"]
"""Why a runner ended by itself: out of memory, removed by somebody else, or any other way."""


class Runner(Protocol):
    """``start`` returns the URL once opencode really answers, ``poll`` None while it runs and else its exit status."""

    spec: RunnerSpec

    async def start(self) -> str:
        """Raises ``RunnerError`` when it is not up within its deadlines; nothing is left running then."""

    async def poll(self) -> int | None:
        """Costs nothing: it may be asked four times a second."""

    async def stop(self) -> None:
        """Ends it and everything that it started; no error when it is gone already."""

    @property
    def ending(self) -> Ending | None:
        """Why it ended by itself; None while it runs, and after ``stop``."""


class LastingRunner(Runner, Protocol):
    """A runner that outlives its sidecar, and can be set aside."""

    async def adopt(self) -> str:
        """The URL of the one that is there already, with its present address; a paused one is resumed.

        Raises ``RunnerError`` where it can't be taken over: gone, ended, made from another spec, or it does not answer.
        """

    async def pause(self) -> None: ...

    async def resume(self) -> None:
        """No error when it is not paused."""

    async def mend(self) -> None:
        """Puts right what others may have undone: the network's members. Cheap when there is nothing to do."""

    async def has_strays(self) -> bool:
        """Whether a process runs in it that is not opencode's own: what a turn with a shell has left."""


@runtime_checkable
class TellsOfMemory(Runner, Protocol):
    """A runner that knows when memory ran out in it, which it can outlive; ``on_oom`` is called in the event loop."""

    on_oom: Callable[[], None] | None


@dataclass(frozen=True)
class FoundRunner:
    """A runner of this deployment as the mode finds it. ``current``: made from what its spec would be today."""

    name: str
    workspace_hash: str
    key_sig: str
    state: Literal["running", "paused", "ended"]
    current: bool


class RunnerMode(Protocol):
    """Makes runners, and knows which there are: the one place that knows how they are isolated."""

    lasting: bool
    """Whether its runners outlive the sidecar; they are ``LastingRunner`` then."""

    async def open(self) -> None:
        """Begins to follow what happens to runners. Does not fail where the engine is down: it goes on trying."""

    async def close(self) -> None: ...

    def make(self, spec: RunnerSpec) -> Runner: ...

    async def found(self) -> Sequence[FoundRunner]:
        """Every runner of this deployment, whatever its state. Raises ``RunnerError`` where it can't be told."""

    async def remove(self, name: str) -> None:
        """Ends the runner of that name, and its user's network where no other runner is in it."""

    async def tidy(self) -> None:
        """Removes networks of this deployment that have no runner."""

    async def logs(self, name: str, lines: int) -> str:
        """The last lines of its output. Raises ``RunnerError`` where there is no such runner."""
