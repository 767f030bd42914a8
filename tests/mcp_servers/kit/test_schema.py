"""Schemas lose what is idle and nothing else."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from mcp_servers.kit.schema import slim_schema


class Inner(BaseModel):
    title: str | None = None


class Arguments(BaseModel):
    """All the forms that tools use."""

    title: Annotated[str, Field(description="A property that is called title", max_length=9)]
    days: Annotated[int | None, Field(ge=0, description="How many")] = None
    either: Annotated[int | str | None, Field(description="One of two")] = None
    sort: Literal["a", "b"] = "a"
    rows: list[int | None] = Field(default_factory=list)
    inner: Inner | None = None


def test_titles_and_nulls_go_and_the_rest_stays() -> None:
    assert slim_schema(Arguments.model_json_schema()) == {
        "$defs": {"Inner": {"type": "object", "properties": {"title": {"type": "string"}}}},
        "description": "All the forms that tools use.",
        "type": "object",
        "properties": {
            "title": {"type": "string", "maxLength": 9, "description": "A property that is called title"},
            "days": {"type": "integer", "minimum": 0, "description": "How many"},
            "either": {"anyOf": [{"type": "integer"}, {"type": "string"}], "description": "One of two"},
            "sort": {"type": "string", "enum": ["a", "b"], "default": "a"},
            "rows": {"type": "array", "items": {"type": "integer"}},
            "inner": {"$ref": "#/$defs/Inner"},
        },
        "required": ["title"],
    }
