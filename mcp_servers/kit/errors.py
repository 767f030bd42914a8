"""Everything a tool can fail with, as one tree.

::

    ToolFailure                  code, message, what to do: becomes a result with isError
    ├── CredentialError
    │   ├── MissingCredentials   missing_credentials   a required setting is not filled in
    │   ├── InvalidCredentials   invalid_credentials   the upstream says 401
    │   ├── PlanRequired         plan_required         the upstream says 402
    │   └── AccessForbidden      forbidden             the upstream says 403
    ├── UpstreamError
    │   ├── NotFound             not_found             the upstream says 404; tools turn it into ``unresolved``
    │   ├── RateLimited          rate_limited          the upstream says 429, or our own limit is used up
    │   ├── UpstreamUnavailable  upstream_unavailable  5xx, not JSON, a broken connection, an in-band failure
    │   ├── UpstreamRefused      upstream_unavailable  an answer that asking again won't change: 400, a foreign redirect
    │   │   └── AnswerTooBig     upstream_unavailable  an answer over our own size limit
    │   └── UpstreamTimeout      timeout               no answer within the deadline
    ├── InvalidArgument          invalid_argument      names the field, its valid values, the next call
    ├── Unsupported              unsupported           the upstream cannot do that
    └── InternalFailure          internal              a bug: the log has the trace, the model sees none of it

A message is always written by us. Text of an upstream never goes into one: it could carry instructions
for the model, or a key.
"""

from __future__ import annotations

import math
from typing import Literal

from mcp.server.mcpserver.exceptions import ToolError

Code = Literal[
    "missing_credentials",
    "invalid_credentials",
    "plan_required",
    "forbidden",
    "not_found",
    "rate_limited",
    "upstream_unavailable",
    "timeout",
    "invalid_argument",
    "unsupported",
    "internal",
]
"""Why a call failed: a closed list, so that a persona and a metric can rely on it."""


class ToolFailure(ToolError):
    """Root of the tree. ``message`` says what happened, ``what_to_do`` what the user or the model does next."""

    code: Code = "internal"
    default_what_to_do = "Try again. If it keeps happening, tell the operator of this deployment."

    def __init__(self, message: str, *, what_to_do: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.what_to_do = what_to_do or self.default_what_to_do

    def text(self) -> str:
        """The one text block of the error result: ``[code] message``, then ``What to do: …``."""
        return f"[{self.code}] {self.message}\nWhat to do: {self.what_to_do}"


class CredentialError(ToolFailure):
    """The caller's settings do not give access."""


class MissingCredentials(CredentialError):
    code: Code = "missing_credentials"


class InvalidCredentials(CredentialError):
    code: Code = "invalid_credentials"
    default_what_to_do = "Check the key in the tool's settings: it may be mistyped, revoked or of another account."


class PlanRequired(CredentialError):
    code: Code = "plan_required"
    default_what_to_do = "Ask the account's owner whether its plan includes API access."


class AccessForbidden(CredentialError):
    code: Code = "forbidden"
    default_what_to_do = "Use a key that may read this, or ask the account's owner for access."


class UpstreamError(ToolFailure):
    """The service behind the server did not give a usable answer."""


class NotFound(UpstreamError):
    code: Code = "not_found"
    default_what_to_do = "Check the id; list or search first to get valid ids."


class RateLimited(UpstreamError):
    """``retry_after_seconds`` is whole seconds, or None where the upstream did not say."""

    code: Code = "rate_limited"
    default_what_to_do = "Wait a minute, then repeat the same call once."

    def __init__(self, message: str, *, retry_after_s: float | None = None, what_to_do: str | None = None) -> None:
        self.retry_after_seconds = None if retry_after_s is None else max(1, math.ceil(retry_after_s))
        if what_to_do is None and self.retry_after_seconds is not None:
            what_to_do = f"Wait {self.retry_after_seconds} seconds, then repeat the same call once."
        super().__init__(message, what_to_do=what_to_do)

    def text(self) -> str:
        if self.retry_after_seconds is None:
            return super().text()
        return f"{super().text()}\nretry_after_seconds: {self.retry_after_seconds}"


class UpstreamUnavailable(UpstreamError):
    code: Code = "upstream_unavailable"
    default_what_to_do = "Try again in a few minutes; go on without this source until then, and say so."


class UpstreamRefused(UpstreamError):
    code: Code = "upstream_unavailable"
    default_what_to_do = "Go on without this source, say so, and tell the operator of this deployment."


class AnswerTooBig(UpstreamRefused):
    """More than we read. A tool that reads files says instead how much that is."""


class UpstreamTimeout(UpstreamError):
    code: Code = "timeout"
    default_what_to_do = "Try again, or ask for less: a narrower filter or a smaller limit."


class InvalidArgument(ToolFailure):
    """``field`` is the argument at fault."""

    code: Code = "invalid_argument"
    default_what_to_do = "Correct the argument and call again."

    def __init__(self, field: str, problem: str, *, what_to_do: str | None = None) -> None:
        super().__init__(f"{field}: {problem}", what_to_do=what_to_do)
        self.field = field


class Unsupported(ToolFailure):
    code: Code = "unsupported"
    default_what_to_do = "Use another way: this source cannot do that."


class InternalFailure(ToolFailure):
    """A bug of ours. Nothing of the original exception is in it."""
