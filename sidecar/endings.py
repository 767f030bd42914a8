"""How an answer ended badly, from opencode's own names for it (1.18.33)."""

from __future__ import annotations

from sidecar.errors import InvalidRequest, ProviderError, RunnerError, SidecarError
from sidecar.events import Ended


def ended_error(end: Ended) -> SidecarError:
    """The error for a user; opencode's words are for the log alone."""
    detail = f"{end.error}: {end.message}"
    if end.error == "ContextOverflowError":
        text = "The chat is too long for this model. Start a new chat or shorten the message."
        return InvalidRequest(text, param="messages", detail=detail)
    if end.error == "ImageDecodeError" or "image" in end.message.lower():
        text = "An image could not be read. Remove it, or send it as PNG or JPEG."
        return InvalidRequest(text, param="messages", detail=detail)
    if "doom_loop" in end.message or "Rejected" in end.error:
        text = "The model made the same tool call again and again and was stopped. Ask in other words."
        return ProviderError(text, reason="provider_refused", detail=detail)
    text = "The agent engine gave up on this answer. Send the message again."
    return RunnerError(text, reason="runner_lost", detail=detail)
