"""The name of a setting's field in a tool's UserValves, and back.

A manifest's key (``[a-z][a-z0-9_]*``) is the field's name, so that what Open WebUI stores under it is found again by
its key. Only a key that cannot be a field gets one ``_`` appended: a Python keyword, an attribute of pydantic's
``BaseModel``, anything in pydantic's ``model_`` namespace, and ``constructor``, which the browser finds on every
object. So that the two names stay one to one, a key that already is such a word with ``_`` after it gets another.

The words are listed here and not asked of Python or pydantic: users' settings are stored under these names, so an
upgrade of either must not move them.
"""

from __future__ import annotations

RESERVED = frozenset(
    {
        *("and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else"),
        *("except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal", "not"),
        *("or", "pass", "raise", "return", "try", "while", "with", "yield"),
        *("construct", "copy", "dict", "from_orm", "json", "parse_file", "parse_obj", "parse_raw", "schema"),
        *("schema_json", "update_forward_refs", "validate"),
        "constructor",
    }
)
_NAMESPACE = "model_"


def field_of(key: str) -> str:
    """The name of the field that holds the setting ``key``."""
    return f"{key}_" if _is_reserved(key) else key


def key_of(field: str) -> str:
    """The key of the setting that the field holds: the inverse of :func:`field_of`."""
    return field[:-1] if field.endswith("_") and _is_reserved(field[:-1]) else field


def _is_reserved(key: str) -> bool:
    return key.startswith(_NAMESPACE) or key.rstrip("_") in RESERVED
