"""What a turn says while it runs; ``streaming`` turns it into an HTTP answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sidecar.errors import SidecarError
from sidecar.events import Text
from sidecar.openai_models import FinishReason, Usage


@dataclass(frozen=True)
class Status:
    """A line of progress; the last one of a tool call or of the start is ``done``."""

    description: str
    done: bool = False


@dataclass(frozen=True)
class Failure:
    """The turn ends with this error; what was said before stays."""

    error: SidecarError


@dataclass(frozen=True)
class Finish:
    """The turn ended well."""

    reason: FinishReason
    usage: Usage


Output = Status | Text | Failure | Finish
Emit = Callable[[Output], None]
