"""Arguments keep to the schema, whatever the words."""

from __future__ import annotations

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from open_persona.demo.arguments import arguments_for, key_terms

SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "additionalProperties": False,
    "$defs": {"Sort": {"type": "string", "enum": ["newest", "closing"]}},
    "required": ["sort", "page", "mode", "flags", "who", "pairs"],
    "properties": {
        "keyword": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        "keywords": {"type": "array", "items": {"type": "string"}},
        "sort": {"$ref": "#/$defs/Sort"},
        "page": {"type": "integer", "minimum": 4},
        "mode": {"const": "open"},
        "flags": {"type": "boolean"},
        "who": {"type": "string"},
        "pairs": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        "limit": {"type": "integer", "minimum": 1, "maximum": 2},
        "closing_within_days": {"anyOf": [{"type": "integer", "maximum": 365}, {"type": "null"}]},
        "opportunity_ids": {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
        "opportunity_numbers": {"type": "array", "items": {"type": "string"}},
    },
}


@given(st.text())
def test_any_words_give_arguments_that_the_schema_takes(text: str) -> None:
    jsonschema.validate(arguments_for(SCHEMA, text), SCHEMA)


@given(st.from_regex(r"(due in [0-9]{1,3} days|[0-9]{5,8}|grants for [a-z]+| ){1,6}", fullmatch=True))
def test_telling_words_give_arguments_that_the_schema_takes(text: str) -> None:
    jsonschema.validate(arguments_for(SCHEMA, text), SCHEMA)


def test_words_about_days_and_numbers_are_used() -> None:
    chosen = arguments_for(SCHEMA, "Opportunities 363423 and 363424 and 363425, due within 30 days")
    assert chosen["closing_within_days"] == 30
    assert chosen["opportunity_ids"] == [363423, 363424]


@pytest.mark.parametrize("schema", [{}, {"properties": None}, {"properties": {"a": True}, "required": "a"}])
def test_a_strange_schema_gives_no_arguments(schema: dict[str, JsonValue]) -> None:
    assert arguments_for(schema, "find grants for cats") == {}


def test_a_choice_is_taken_by_its_words() -> None:
    choices: JsonValue = ["agencies", "funding_categories", "statuses"]
    schema: dict[str, JsonValue] = {"properties": {"topic": {"type": "string", "enum": choices}}, "required": ["topic"]}
    assert arguments_for(schema, "List the category codes") == {"topic": "funding_categories"}
    assert arguments_for(schema, "List the codes") == {"topic": "agencies"}


@pytest.mark.parametrize(
    ("text", "terms"),
    [("Find open federal grants for rural health.", "rural health"), ("hello, what can you do?", "")],
)
def test_key_terms(text: str, terms: str) -> None:
    assert key_terms(text) == terms
