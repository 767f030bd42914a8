"""Gives the sidecar's connection the headers of DESIGN §5.1, in Open WebUI's router for OpenAI-compatible providers.

Two names of the module ``open_webui.routers.openai`` are replaced when it is imported: ``get_headers_and_cookies``,
which makes the headers of every request to a provider, and ``generate_chat_completion``, which knows the Model that a
chat asked (in a chat with several Models nothing later does). Both are checked first. A call to any other connection
goes through untouched, and so does whatever is no chat or task call, without the connection's custom headers.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from traceback import format_tb
from types import ModuleType
from typing import Any

from .headers import USER, ids_in, is_sidecar, without_ours
from .outgoing import Call, Outgoing
from .request_errors import RefusedError, UnreadableError
from .settings import Settings

logger = logging.getLogger(__name__)

HEADERS = "get_headers_and_cookies"
COMPLETION = "generate_chat_completion"
SIGNATURES: Mapping[str, tuple[str, ...]] = {
    HEADERS: ("request", "url", "key", "config", "metadata", "user"),
    COMPLETION: ("request", "form_data", "user"),
}
UNTRUSTED = "/openai/"
"""Routes that take a client's ``metadata`` as it comes: anyone could name another chat in it. They also call the
function that was there before the patch, so that no Model is noted."""

Answer = Callable[..., Awaitable[Any]]

_asked: ContextVar[str] = ContextVar("open_persona_asked_model", default="")


class MovedError(Exception):
    """Open WebUI's router is not the one that this patch was made for."""


def install(module: ModuleType) -> None:
    """Patch ``open_webui.routers.openai``.

    Raises:
        MovedError: a function is missing or takes other arguments; the message names it.
    """
    for name, wanted in SIGNATURES.items():
        _check(module, name, wanted)
    settings = Settings.from_environment(os.environ)
    module.get_headers_and_cookies = patched_headers(module.get_headers_and_cookies, settings)  # type: ignore[attr-defined]
    module.generate_chat_completion = noting_model(module.generate_chat_completion)  # type: ignore[attr-defined]
    logger.info("the router of OpenAI-compatible providers is patched for %s", ", ".join(settings.sidecar_base_urls))


def patched_headers(original: Answer, settings: Settings) -> Answer:
    """``get_headers_and_cookies`` with the sidecar's headers; the same arguments and the same answer."""
    signature, outgoing = inspect.signature(original), Outgoing(settings)

    async def get_headers_and_cookies(*args: Any, **kwargs: Any) -> tuple[dict[str, str], Any]:
        given = signature.bind(*args, **kwargs).arguments
        if not is_sidecar(given["url"], settings.sidecar_base_urls):
            return await original(*args, **kwargs)  # type: ignore[no-any-return]
        if "metadata" not in given or given.get("user") is None:
            return await _bare(original, given)
        if not _asked.get() or given["request"].url.path.startswith(UNTRUSTED):
            given["metadata"] = None
        headers, cookies = await original(**given)
        call = Call(given["request"], given["user"], _model_of(given["request"]), given["metadata"] or {})
        return {**without_ours(headers), **ids_in(headers), USER: call.user.id, **await _told(outgoing, call)}, cookies

    return get_headers_and_cookies


def noting_model(original: Answer) -> Answer:
    """``generate_chat_completion``, with the Model that it was asked for at hand while it runs."""

    async def generate_chat_completion(request: Any, form_data: Any, user: Any) -> Any:
        token = _asked.set(str(form_data.get("model") or ""))
        try:
            return await original(request, form_data, user)
        finally:
            _asked.reset(token)

    return generate_chat_completion


async def _bare(original: Answer, given: Mapping[str, Any]) -> tuple[dict[str, str], Any]:
    """For a list of models and the like: nothing that says who asks."""
    config = {key: value for key, value in (given.get("config") or {}).items() if key != "headers"}
    headers, cookies = await original(**{**given, "config": config})
    return without_ours(headers), cookies


async def _told(outgoing: Outgoing, call: Call) -> dict[str, str]:
    from fastapi import HTTPException

    try:
        return await outgoing.headers(call)
    except RefusedError as error:
        raise HTTPException(400, str(error)) from None
    except Exception as error:  # noqa: BLE001 - Open WebUI's own errors have no common root
        # Not the error's text: a database error quotes statements and values, and the chat would show it.
        logger.error("the headers of a request: %s\n%s", type(error).__name__, "".join(format_tb(error.__traceback__)))
        raise HTTPException(503, str(UnreadableError())) from None


def _model_of(request: Any) -> str:
    return _asked.get() or str(getattr(request.state, "model_id", "") or "")


def _check(module: ModuleType, name: str, wanted: tuple[str, ...]) -> None:
    found = getattr(module, name, None)
    if found is None:
        raise MovedError(f"{module.__name__}.{name} is gone. {_mend()}")
    taken = tuple(inspect.signature(found).parameters)
    if taken != wanted or not inspect.iscoroutinefunction(found):
        kind = "" if inspect.iscoroutinefunction(found) else " and is no coroutine function"
        expected = f"where ({', '.join(wanted)}) is expected"
        raise MovedError(f"{module.__name__}.{name} takes ({', '.join(taken)}){kind}, {expected}. {_mend()}")


def _mend() -> str:
    return "Use the version of Open WebUI that Open Persona pins, or a newer Open Persona."
