"""Everything that can go wrong in the sidecar, as one tree.

::

    SidecarError                 status, reason, message for the user, detail for the log
    ├── RequestError             the caller's request is at fault
    │   ├── Unauthorized         401  no or wrong API key
    │   ├── InvalidRequest       400  a field is missing, of a wrong type or unknown
    │   ├── MissingKey           400  the model's provider has no key
    │   ├── Forbidden            403  this deployment does not serve that user
    │   ├── NotFound             404  nothing of that name is kept
    │   ├── Busy                 409  turns that stand in the way are still running
    │   └── TooLarge             413  body or header over its limit
    ├── Overloaded               429  every runner is in use; carries Retry-After
    ├── RunnerError              503  the agent engine is missing, did not start or was lost
    ├── ProviderError            502  the model provider refused, failed, stalled or was cut off
    ├── HubError                 503  the hub did not answer and no catalog is known yet
    └── TurnTimeout              504  the turn passed its deadline
"""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "unauthorized",
    "invalid_request",
    "missing_key",
    "forbidden",
    "not_found",
    "busy",
    "too_large",
    "overloaded",
    "runner_missing",
    "runner_version",
    "runner_start",
    "runner_lost",
    "out_of_memory",
    "quota",
    "disk_full",
    "provider_auth",
    "provider_rate_limit",
    "provider_error",
    "provider_refused",
    "provider_stalled",
    "provider_cut",
    "provider_unreachable",
    "hub_unavailable",
    "turn_timeout",
    "step_limit",
    "internal",
]
"""Why a turn failed: a closed list, so that it can be a metric label."""


class SidecarError(Exception):
    """Root of the tree. ``message`` is shown to the user and says what to do; ``detail`` goes to the log alone."""

    status = 500
    reason: Reason = "internal"

    def __init__(
        self, message: str, *, param: str | None = None, detail: str = "", reason: Reason | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.detail = detail
        if reason is not None:
            self.reason = reason


class RequestError(SidecarError):
    """The caller's request is at fault."""

    status = 400
    reason: Reason = "invalid_request"


class Unauthorized(RequestError):
    status = 401
    reason: Reason = "unauthorized"


class InvalidRequest(RequestError):
    """``param`` names the field."""


class MissingKey(RequestError):
    reason: Reason = "missing_key"


class Forbidden(RequestError):
    status = 403
    reason: Reason = "forbidden"


class NotFound(RequestError):
    status = 404
    reason: Reason = "not_found"


class Busy(RequestError):
    status = 409
    reason: Reason = "busy"


class TooLarge(RequestError):
    status = 413
    reason: Reason = "too_large"


class Overloaded(SidecarError):
    """``retry_after_s`` becomes the ``Retry-After`` header."""

    status = 429
    reason: Reason = "overloaded"

    def __init__(self, message: str, *, retry_after_s: int = 10) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RunnerError(SidecarError):
    status = 503
    reason: Reason = "runner_start"


class ProviderError(SidecarError):
    status = 502
    reason: Reason = "provider_error"


class HubError(SidecarError):
    status = 503
    reason: Reason = "hub_unavailable"


class TurnTimeout(SidecarError):
    status = 504
    reason: Reason = "turn_timeout"
