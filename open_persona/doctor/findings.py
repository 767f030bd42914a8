"""What a check finds, and what it is given to look at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import httpx
from pydantic import BaseModel, ConfigDict

from open_persona.secrets import Secrets
from open_persona.settings import StackSettings

Level = Literal["ok", "warn", "fail"]
"""``warn``: something that a deployment can do without; ``fail``: something that it can't."""


class Finding(BaseModel):
    """One line of the doctor. ``action`` says what to do; it is empty where nothing has to be done."""

    model_config = ConfigDict(frozen=True)

    check: str
    level: Level
    message: str
    action: str = ""


class Patient(NamedTuple):
    """What the checks look at. ``secrets`` is ``None`` before the first start."""

    settings: StackSettings
    environment: Mapping[str, str]
    http: httpx.AsyncClient
    secrets: Secrets | None


Check = Callable[[Patient], Awaitable[Sequence[Finding]]]
"""One check. It never raises for what it looks for, and has a deadline of its own."""


def ok(check: str, message: str) -> Finding:
    """Nothing to do."""
    return Finding(check=check, level="ok", message=message)


def warn(check: str, message: str, action: str = "") -> Finding:
    """Something is missing that a deployment can do without."""
    return Finding(check=check, level="warn", message=message, action=action)


def fail(check: str, message: str, action: str) -> Finding:
    """Something has to be mended."""
    return Finding(check=check, level="fail", message=message, action=action)
