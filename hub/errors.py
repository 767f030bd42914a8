"""Everything the hub can refuse or fail at.

::

    HubError
    ├── SettingsError                 the hub can't start with these settings
    ├── HistoryError                  hub.db can't be opened
    ├── ProbeError                    one health check ended early; carries the reason
    └── RequestError                  an answer to an HTTP caller: status, code, message, action
        ├── UnknownIntegrationError   404
        ├── NotProbedError            409  nothing to probe: disabled or invalid
        ├── KeyRequiredError          401
        ├── WrongOriginError          403
        ├── WrongHostError            421, 400 without a Host
        ├── BadQueryError             400
        └── TooManyListenersError     503
"""

from __future__ import annotations

from collections.abc import Iterable

from hub.wire import Reason


class HubError(Exception):
    """Root of the hub's errors; the message is for the person who runs it."""


class SettingsError(HubError):
    """The hub can't start; the message names the setting and what to do."""


class HistoryError(HubError):
    """``hub.db`` can't be opened; the message names the file's place in the state folder."""


class ProbeError(HubError):
    """A health check ended early. ``detail`` is what was seen, cleaned of control characters."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail


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
            f"Known integrations: {names}. One is a folder with a manifest.yaml; restart the hub for a new one.",
        )


class NotProbedError(RequestError):
    """The integration is disabled or its manifest is invalid, so there is nothing to ask."""

    status = 409
    code = "not_probed"


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
