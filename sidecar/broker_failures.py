"""What went wrong at a provider, twice: for the user, and for opencode.

The user's message is a ``ProviderError``. What opencode gets is its own matter, because opencode 1.18.33 decides by
status *and by words* whether to ask again: it repeats on 404 from OpenAI, on 429 and 5xx, and on any error whose text
holds one of its phrases ("rate limit", "overloaded", "try again later", a number like 503 …). So the text for opencode
is a fixed sentence that holds none of them, and nothing of the provider's own text is passed on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from sidecar.errors import ProviderError, Reason
from sidecar.providers import Provider, key_place

FINAL: Final = 403
CODE: Final = "open_persona"
MAX_WAIT_S: Final = 60.0
"""A provider that asks to wait longer is not waited for."""
_MAX_QUOTE: Final = 300
_OVERFLOW: Final = re.compile(
    r"context[_ ](length|window|size)|maximum (context|prompt) length|too many (input )?tokens"
    r"|(prompt|input) is too long|request_too_large|request entity too large|token limit exceeded",
    re.IGNORECASE,
)
_NO_CREDIT: Final = re.compile(r"insufficient_quota|insufficient credits|credit balance|billing", re.IGNORECASE)
_SENTENCES: Final[Mapping[Reason, str]] = {
    "too_large": "The conversation is larger than this server takes.",
    "provider_auth": "The provider refused the key.",
    "provider_rate_limit": "The provider asks for a pause.",
    "provider_error": "The provider failed.",
    "provider_refused": "The provider refused the call.",
    "provider_stalled": "The provider stopped answering.",
    "provider_cut": "The answer was cut off.",
    "provider_unreachable": "The provider cannot be reached.",
    "step_limit": "This turn has used up its model calls.",
    "internal": "The turn is over.",
}


@dataclass(frozen=True)
class Failure:
    """One failed call. ``status`` is what opencode gets; 429 and 5xx make it ask again, after ``wait_s`` if given."""

    error: ProviderError
    status: int = FINAL
    wait_s: float | None = None
    overflow: bool = False

    @property
    def retryable(self) -> bool:
        return self.status == 429 or self.status >= 500

    def final(self) -> Failure:
        """The same, so that opencode does not ask again."""
        return Failure(self.error)

    def answer(self, provider: Provider) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for opencode, in the provider's shape."""
        headers = {"content-type": "application/json"}
        if self.wait_s is not None:
            headers["retry-after"] = f"{self.wait_s:g}"
        # opencode compacts the conversation and goes on when it reads this.
        sentence, code = ("prompt is too long", "context_length_exceeded") if self.overflow else (self._sentence, CODE)
        return self.status, headers, json.dumps(provider.error_body(self.status, sentence, code)).encode()

    def event(self, provider: Provider) -> bytes:
        """The end of a stream that has begun: an error event in the provider's shape.

        Cutting the connection instead loses text that opencode has not read yet, and makes it ask again.
        """
        if provider.dialect == "responses":
            # The one code that opencode neither repeats nor rewords.
            inner = {
                "type": "invalid_request_error",
                "code": "invalid_prompt",
                "message": self._sentence,
                "param": None,
            }
            return _event("error", {"type": "error", "sequence_number": 0, "error": inner})
        body = provider.error_body(FINAL, self._sentence, CODE)
        return _event("error" if provider.dialect == "messages" else "", body)

    @property
    def _sentence(self) -> str:
        return _SENTENCES.get(self.error.reason, _SENTENCES["provider_error"])


def _event(name: str, body: Mapping[str, object]) -> bytes:
    head = f"event: {name}\n" if name else ""
    # The empty line ends whatever event the provider had begun.
    return f"\n{head}data: {json.dumps(body)}\n\n".encode()


def denied() -> Failure:
    """What everything that may not pass gets: no turn, no such route, not allowed."""
    return Failure(ProviderError("The agent made a model call that is not allowed.", reason="provider_refused"))


def too_large(limit: int) -> Failure:
    """The call's body is over ``limit`` bytes."""
    message = (
        f"This conversation, with its images and files, has grown larger than the {_size(limit)} that can be sent to a "
        "model at once. Start a new chat, and attach smaller images."
    )
    return Failure(ProviderError(message, reason="too_large"))


def turn_over() -> Failure:
    return Failure(ProviderError("The turn is over.", reason="internal"))


def step_limit(limit: int) -> Failure:
    message = f"The turn was ended: it made more than {limit} model calls. Ask for less at once, or in smaller steps."
    return Failure(ProviderError(message, reason="step_limit"))


def unreachable(provider: Provider, cause: BaseException) -> Failure:
    message = (
        f"{_cap(provider.title)} cannot be reached from this server. Send the message again in a minute; if that does "
        f"not help, an operator has to check the network and OPEN_PERSONA_{provider.name.upper()}_BASE_URL."
    )
    return Failure(ProviderError(message, reason="provider_unreachable", detail=type(cause).__name__), status=503)


def stalled(provider: Provider, seconds: float) -> Failure:
    message = f"{_cap(provider.title)} sent nothing for {seconds:g} s, so the turn was ended. Send the message again."
    return Failure(ProviderError(message, reason="provider_stalled"))


def cut(provider: Provider, *, begun: bool) -> Failure:
    """The connection was lost before the answer was complete; with nothing relayed yet opencode may ask again."""
    rest = "What arrived is shown. " if begun else ""
    message = (
        f"The connection to {provider.title} was lost before the answer was complete. {rest}Send the message again."
    )
    return Failure(ProviderError(message, reason="provider_cut"), status=FINAL if begun else 502)


def not_a_model(provider: Provider, what: str) -> Failure:
    """An answer that no model provider gives: a redirect, a page, an oversized line."""
    message = (
        f"{_cap(provider.title)} did not answer like a model provider ({what}). "
        f"An operator has to check OPEN_PERSONA_{provider.name.upper()}_BASE_URL."
    )
    return Failure(ProviderError(message, reason="provider_error"))


def refused(
    provider: Provider, model: str, status: int, headers: Mapping[str, str], body: bytes, secrets: tuple[str, ...]
) -> Failure:
    """The failure that an error answer of the provider means. ``secrets`` never appear in a message."""
    text = body.decode("utf-8", "replace")
    name, title = provider.name.upper(), _cap(provider.title)
    if status in (401, 403):
        return _auth(provider, status)
    if status == 402 or (status in (400, 429) and _NO_CREDIT.search(text)):
        message = f"{title} says that the account of this key has no credit left. Add credit there, or use another key."
        return Failure(ProviderError(message, reason="provider_refused"))
    if status == 404:
        message = (
            f"{title} does not know the model “{model}”. Choose another model for this persona, or ask an operator to "
            f"check OPEN_PERSONA_{name}_MODELS and OPEN_PERSONA_{name}_BASE_URL."
        )
        return Failure(ProviderError(message, reason="provider_refused"))
    if status == 429:
        return _rate_limit(provider, headers)
    if status >= 500:
        message = f"{title} failed ({status}). The fault is on its side: send the message again in a few minutes."
        return Failure(ProviderError(message, reason="provider_error"), status=status if status < 600 else 500)
    if status in (400, 413, 422) and _OVERFLOW.search(text):
        message = f"The conversation is too long for the model “{model}”. Start a new chat, or choose a larger model."
        return Failure(ProviderError(message, reason="provider_refused"), status=400, overflow=True)
    if 300 <= status < 400:
        return not_a_model(provider, "it redirects elsewhere")
    quote = _quote(text, secrets)
    message = f"{title} refused the request ({status})" + (f": {quote}" if quote else ".")
    return Failure(ProviderError(message, reason="provider_refused"))


def failed_in_stream(provider: Provider, event: Mapping[str, object], *, begun: bool) -> Failure:
    """An error event in the middle of a stream; before the first byte opencode may ask again."""
    text = json.dumps(event)
    title = _cap(provider.title)
    if not begun and _OVERFLOW.search(text):
        message = "The conversation is too long for this model. Start a new chat, or choose a larger model."
        return Failure(ProviderError(message, reason="provider_refused"), status=400, overflow=True)
    if re.search(r"rate_limit|too many requests", text, re.IGNORECASE):
        failure = _rate_limit(provider, {})
        return failure.final() if begun else failure
    message = f"{title} failed in the middle of its answer. The fault is on its side: send the message again."
    return Failure(ProviderError(message, reason="provider_error"), status=FINAL if begun else 502)


def _auth(provider: Provider, status: int) -> Failure:
    title = _cap(provider.title)
    if provider.key == "none":
        message = f"{title} refused the call ({status})."
    else:
        message = f"{title} refused the key ({status}). {key_place(provider)}"
    return Failure(ProviderError(message, reason="provider_auth"), status=401 if status == 401 else FINAL)


def _rate_limit(provider: Provider, headers: Mapping[str, str]) -> Failure:
    wait = _retry_after(headers)
    when = f"in {_duration(wait)}" if wait else "in a minute"
    message = f"{_cap(provider.title)} limits how often this key may be used (429). Send the message again {when}."
    error = ProviderError(message, reason="provider_rate_limit")
    if wait is not None and wait > MAX_WAIT_S:
        return Failure(error)
    return Failure(error, status=429, wait_s=wait)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait; the header holds seconds or a date."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", value):
        return float(value)
    try:
        until = parsedate_to_datetime(value)
        sent = parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (until - sent).total_seconds())
    except (ValueError, TypeError):
        return None


def _size(count: int) -> str:
    return f"{count / 2**20:.3g} MiB" if count >= 2**20 else f"{count / 2**10:.3g} KiB"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _quote(text: str, secrets: tuple[str, ...]) -> str:
    """The provider's own message, one line, cut; nothing where it shows a part of a secret."""
    try:
        body = json.loads(text)
        error = body.get("error", body)
        message = error.get("message", "") if isinstance(error, dict) else error
    except (ValueError, AttributeError, RecursionError):
        return ""
    if not isinstance(message, str) or any(_shows(text, secret) for secret in secrets):
        return ""
    line = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    return line if len(line) <= _MAX_QUOTE else line[:_MAX_QUOTE] + "…"


def _shows(text: str, secret: str) -> bool:
    """Whether ``text`` holds eight characters in a row of ``secret``, or all of a shorter one."""
    size = min(8, len(secret))
    return any(secret[at : at + size] in text for at in range(len(secret) - size + 1)) if secret else False


def _cap(title: str) -> str:
    return title[:1].upper() + title[1:]
