"""Everything the spawner can refuse or fail at.

::

    SpawnerError
    ├── SettingsError     the spawner can't start with these settings
    ├── SocketError       its socket can't be made
    └── CallError         the answer to one call: an HTTP status and a message
        ├── Refused       403  not allowed, whatever the state of things
        ├── Malformed     400  not a request that can be read
        ├── Absent        404  Docker knows no such thing
        ├── Changed       409  what was checked is no longer so
        ├── Busy          503  too many calls at once
        └── EngineError   502  Docker can't be reached, or its answer can't be used; 504 when it took too long
"""

from __future__ import annotations

from typing import ClassVar


class SpawnerError(Exception):
    """Root of the spawner's errors; the message is for the person who runs it."""


class SettingsError(SpawnerError):
    """The spawner can't start; the message names the setting and what to do."""


class SocketError(SpawnerError):
    """The spawner's own socket can't be made; the message names its place."""


class CallError(SpawnerError):
    """The answer to a call; the message goes to the caller as Docker's ``{"message": …}`` and into the log."""

    status: ClassVar[int] = 500


class Refused(CallError):
    """The message says what is allowed instead. It holds no value that the caller sent."""

    status = 403


class Malformed(CallError):
    status = 400


class Absent(CallError):
    status = 404


class Changed(CallError):
    status = 409


class Busy(CallError):
    status = 503


class EngineError(CallError):
    status = 502


class EngineTimeout(EngineError):
    status = 504
