"""Types of the tools' arguments: what a model tends to send, read as what it means."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field


def _as_list(value: object) -> object:
    """A single value or ``a|b`` as a list, numbers as text, blanks left out."""
    if isinstance(value, str):
        value = value.replace("|", ",").split(",")
    elif isinstance(value, int):
        value = [value]
    if not isinstance(value, list):
        return value
    return [entry for entry in (_as_text(part) for part in value) if entry != ""]


def _as_text(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else value


def _unset_if_blank(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


Values = Annotated[Annotated[list[str], Field(max_length=30)] | None, BeforeValidator(_as_list)]
Few = Annotated[Annotated[list[str], Field(max_length=5)] | None, BeforeValidator(_as_list)]
Text = Annotated[str | None, BeforeValidator(_unset_if_blank)]
Posted = Annotated[Annotated[int, Field(ge=1, le=3650)] | None, BeforeValidator(_unset_if_blank)]
Closing = Annotated[Annotated[int, Field(ge=0, le=365)] | None, BeforeValidator(_unset_if_blank)]
Limit = Annotated[int, Field(ge=1, le=25, description="How many rows")]
Format = Annotated[Literal["concise", "detailed"], Field(description="detailed gives longer texts")]
