"""JSON with one meaning only: what two readers could take for different things is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from spawner.errors import Malformed, Refused

Model = TypeVar("Model", bound=BaseModel)

MAX_DEPTH: Final = 12
MAX_SHOWN: Final = 120


def parse(text: str | bytes, *, what: str = "The body") -> object:
    """The value of a JSON text in UTF-8.

    Raises ``Malformed``: not JSON, a key twice in one object (which of the two counts depends on the reader), keys that
    differ by case alone (Docker reads them as one), NaN or infinity, or nested deeper than ``MAX_DEPTH``.
    """
    try:
        plain = text if isinstance(text, str) else text.decode("utf-8")
        value = json.loads(plain, object_pairs_hook=_object, parse_constant=_no_number)
        plain.encode("utf-8")
    except _Twofold as error:
        raise Malformed(f"{what} {error}.") from None
    except (ValueError, RecursionError):
        raise Malformed(f"{what} must be JSON in UTF-8.") from None
    if not _fits(value, MAX_DEPTH):
        raise Malformed(f"{what} must not be nested deeper than {MAX_DEPTH} levels.")
    return value


def read_as(model: type[Model], raw: object) -> Model:
    """``raw`` as ``model``. Raises ``Refused`` that names the first field that does not fit, and shows no value."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "The body"
        why = "is not allowed" if first["type"] == "extra_forbidden" else first["msg"]
        raise Refused(f"{shown(where)}: {why}.") from None


def shown(text: str, most: int = MAX_SHOWN) -> str:
    """A text of the caller's on one line, in printable ASCII, cut."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text[:most])


class _Twofold(Exception):
    pass


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    if len({key.casefold() for key, _ in pairs}) != len(pairs):
        raise _Twofold("names a field twice")
    return dict(pairs)


def _no_number(_name: str) -> NoReturn:
    raise _Twofold("holds a number that is none")


def _fits(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels >= 0 and all(_fits(part, levels - 1) for part in inner)
