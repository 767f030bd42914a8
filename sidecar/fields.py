"""Naming the field at fault: paths such as ``open_persona.integrations.instrumentl.tools[0]``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from pydantic import ValidationError

from sidecar.errors import InvalidRequest

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}\Z")


def child(path: str, key: str | int) -> str:
    """``path`` extended by one key or index; an odd key is quoted and cut, so that it cannot disfigure a message."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if _PLAIN_KEY.match(key):
        return f"{path}.{key}" if path else key
    return f"{path}[{json.dumps(key[:40])}]"


def join(path: str, keys: Iterable[str | int]) -> str:
    """``path`` extended by each of ``keys`` in turn."""
    for key in keys:
        path = child(path, key)
    return path


def shown(value: str, limit: int = 80) -> str:
    """A caller's word as it may appear in a message: quoted, escaped, cut."""
    return json.dumps(value if len(value) <= limit else value[:limit] + "…")


def invalid(path: str, fault: str) -> InvalidRequest:
    """The error for the field at ``path``; ``fault`` is a sentence that says what is wrong and what to do."""
    return InvalidRequest(f"{path}: {fault}", param=path)


def from_validation(error: ValidationError, root: str) -> InvalidRequest:
    """The first fault that pydantic found under ``root``, without the value."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return invalid(join(root, first["loc"]), f"{first['msg'].removeprefix('Value error, ')}.")
