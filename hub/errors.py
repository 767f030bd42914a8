"""Everything the hub can refuse or fail at.

::

    HubError
    ├── SettingsError                 the hub can't start with these settings
    ├── HistoryError                  hub.db can't be opened
    ├── ProbeError                    one health check ended early; carries the reason
    ├── ForbiddenAddressError         an integration's address that the hub does not connect to
    ├── BackendLostError              a connection to a backend ended before its answer did
    ├── BackendGarbledError           what a backend answered is not HTTP
    ├── RpcError                      the JSON-RPC error that a runner's request gets
    ├── CallError                     one tool call came to nothing; carries the outcome and words for the model
    └── RequestError                  an answer to an HTTP caller: status, code, message, action
        ├── UnknownIntegrationError   404
        ├── NotProbedError            409  nothing to probe: disabled or invalid
        ├── NotPinnedError            409  its tools need no approval
        ├── NotApprovedError          409  the tools are not those that were named
        ├── NotStoredError            503  approved, but not beyond the hub's end
        ├── KeyRequiredError          401
        ├── WrongOriginError          403
        ├── WrongHostError            421, 400 without a Host
        ├── BadQueryError             400
        ├── TooManyListenersError     503
        ├── BadLeaseError             422
        ├── BadApprovalError          422
        ├── BodyTooLargeError         413
        └── TooManyLeasesError        503
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hub.outcomes import Outcome
from hub.wire import Reason


class HubError(Exception):
    """Root of the hub's errors; the message is for the person who runs it."""


class SettingsError(HubError):
    """The hub can't start; the message names the setting and what to do."""


class HistoryError(HubError):
    """``hub.db`` can't be opened; the message names the file's place in the state folder."""


class ProbeError(HubError):
    """A health check ended early. ``detail`` is what was seen, cleaned of control characters.

    ``action`` is what to do where the reason alone does not tell; ``{name}`` in it is the integration.
    """

    def __init__(self, reason: Reason, detail: str, action: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail
        self.action = action


class ForbiddenAddressError(HubError, OSError):
    """The host is, or resolves only to, an address that no integration may have (``hub.addresses``)."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host[:80]!r} is a link-local, metadata, multicast or unspecified address")


class BackendLostError(HubError, ConnectionError):
    """A connection ended before the answer did; ``unanswered``: no byte of it had come."""

    def __init__(self, *, unanswered: bool) -> None:
        super().__init__("the connection ended " + ("without an answer" if unanswered else "within the answer"))
        self.unanswered = unanswered


class BackendGarbledError(HubError, ValueError):
    """A backend's answer that is not HTTP."""


class RpcError(HubError):
    """A JSON-RPC error as the answer. It repeats nothing of the request but its ``id`` and a protocol version."""

    def __init__(
        self,
        code: int,
        message: str,
        data: Mapping[str, object] | None = None,
        id: str | int | None = None,  # noqa: A002
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.data = data
        self.id = id


class CallError(HubError):
    """A tool call came to nothing. ``text`` is for the model: what happened and what to do, nothing of a stranger's."""

    def __init__(self, outcome: Outcome, text: str) -> None:
        super().__init__(f"{outcome}: {text}")
        self.outcome: Outcome = outcome
        self.text = text


class RequestError(HubError):
    """An HTTP answer of status 4xx or 503: ``code`` for programs, ``message`` and ``action`` for people."""

    status = 400
    code = "bad_request"

    def __init__(self, message: str, action: str) -> None:
        super().__init__(message)
        self.message = message
        self.action = action


class UnknownIntegrationError(RequestError):
    """No folder of that name; the action lists the known ones."""

    status = 404
    code = "unknown_integration"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = ", ".join(known) or "none"
        super().__init__(
            f"There is no integration {name[:80]!r}.",
            f"Known integrations: {names}. One is a folder with a manifest.yaml; a new one is found by itself.",
        )


class NotProbedError(RequestError):
    """The integration is disabled or its manifest is invalid, so there is nothing to ask."""

    status = 409
    code = "not_probed"


class NotPinnedError(RequestError):
    """The integration is not pinned, so every tool that its manifest states counts as approved."""

    status = 409
    code = "not_pinned"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The tools of {name!r} need no approval.",
            f"To withhold changed ones, put 'pin: true' in {name}/manifest.yaml.",
        )


class NotApprovedError(RequestError):
    """The tools are not, or no longer, those with the given fingerprint."""

    status = 409
    code = "not_as_shown"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The tools of {name!r} are not those that you were shown; nothing was approved.",
            "Look at what changed since, and approve that.",
        )


class NotStoredError(RequestError):
    """An approval that is in force and will be gone after a restart."""

    status = 503
    code = "not_stored"

    def __init__(self, cause: str) -> None:
        super().__init__(
            f"Approved until the hub's next start, but not stored: {cause}", "Mend that, and approve once more."
        )


class KeyRequiredError(RequestError):
    """The service key is missing or wrong."""

    status = 401
    code = "key_required"

    def __init__(self) -> None:
        super().__init__(
            "The service key is missing or wrong.",
            "Send 'Authorization: Bearer <service key>'; it is 'service_key' in secrets.json of OPEN_PERSONA_HOME.",
        )


class WrongOriginError(RequestError):
    """The request comes from a page of another origin."""

    status = 403
    code = "wrong_origin"

    def __init__(self) -> None:
        super().__init__("The request comes from a page of another origin.", "Use the hub's own status page.")


class WrongHostError(RequestError):
    """The ``Host`` header is not a name of this hub (400 when there is no usable one)."""

    status = 421
    code = "wrong_host"

    def __init__(self, host: str) -> None:
        if not host:
            self.status = 400
        super().__init__(
            f"The hub does not answer to the host {host[:80]!r}.",
            "Use a loopback address, or add the name to OPEN_PERSONA_HUB_ALLOWED_HOSTS.",
        )


class BadQueryError(RequestError):
    """A query parameter that can't be read."""

    code = "bad_query"


class TooManyListenersError(RequestError):
    """The event stream has as many listeners as the hub allows."""

    status = 503
    code = "too_many_listeners"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The event stream has {limit} listeners already.", "Close some and try again.")


class BadLeaseError(RequestError):
    """A lease that can't be read; names the field, and no value."""

    status = 422
    code = "bad_lease"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}.", "The shape of a lease is in docs/reference/hub-api.md.")


class BadApprovalError(RequestError):
    """The body of an approval can't be read."""

    status = 422
    code = "bad_approval"

    def __init__(self) -> None:
        super().__init__(
            "The body is not an approval.", 'Send {"tool_fingerprint": …}, the one of the integration as you saw it.'
        )


class BodyTooLargeError(RequestError):
    """The request's body is larger than this route reads."""

    status = 413
    code = "body_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than {limit} bytes.", "Send a smaller one.")


class TooManyLeasesError(RequestError):
    """As many leases are live as the hub holds."""

    status = 503
    code = "too_many_leases"

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are {limit} live leases already.", "Delete leases whose turns have ended.")
