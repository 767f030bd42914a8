"""JSON schemas without what tells a model nothing: every byte of a tool list is paid for in each turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NULL = {"type": "null"}


def slim_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same schema without generated titles and null alternatives.

    An argument that may be null may also be left out, and leaving it out is all that a model needs to know; the
    server goes on accepting null.
    """
    slim = {key: _slim_part(key, value) for key, value in schema.items() if not _idle(key, value)}
    choices = slim.get("anyOf")
    if isinstance(choices, list) and _NULL in choices:
        others = [choice for choice in choices if choice != _NULL]
        del slim["anyOf"]
        slim = {**others[0], **slim} if len(others) == 1 else {"anyOf": others, **slim}
        if slim.get("default", ...) is None:
            del slim["default"]
    return slim


def _slim_part(key: str, value: object) -> object:
    if key in {"properties", "$defs"} and isinstance(value, Mapping):
        return {name: slim_schema(part) if isinstance(part, Mapping) else part for name, part in value.items()}
    if isinstance(value, Mapping) and key in {"items", "additionalProperties", "not"}:
        return slim_schema(value)
    if key in {"anyOf", "oneOf", "allOf", "prefixItems"} and isinstance(value, list):
        return [slim_schema(part) if isinstance(part, Mapping) else part for part in value]
    return value


def _idle(key: str, value: object) -> bool:
    return key == "title" and isinstance(value, str)
