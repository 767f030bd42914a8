"""What a runner is: one ``opencode serve`` of one user and one key set, behind three verbs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

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


class Runner(Protocol):
    """``start`` returns the URL once opencode really answers, ``poll`` None while it runs and else its exit status."""

    spec: RunnerSpec

    async def start(self) -> str:
        """Raises ``RunnerError`` when it is not up within its deadline; nothing is left running then."""

    async def poll(self) -> int | None: ...

    async def stop(self) -> None:
        """Ends it and everything that it started; no error when it is gone already."""


class RunnerFactory(Protocol):
    """Makes the runner for a spec: the one place that knows the mode."""

    def __call__(self, spec: RunnerSpec) -> Runner: ...
