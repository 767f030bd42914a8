"""Arguments for a tool call, made from the words of a request and the tool's JSON schema. Pure.

Required properties are always filled; an optional one only where the words say something about it. Where a
schema gives an enum, a default or bounds, the value keeps to them.
"""

from __future__ import annotations

import re

from pydantic import JsonValue

Schema = dict[str, JsonValue]

TERM_NAMES = {"keyword", "keywords", "query", "q", "text", "search", "search_text", "term", "terms", "topic"}
LIMIT_NAMES = {"limit", "rows", "max_results", "page_size", "count"}
ID_NAMES = re.compile(r"(^|_)(ids?|numbers?)$")
ID_WORD = re.compile(r"\b\d{5,}\b")
DAYS = re.compile(r"\b(\d{1,3}) days?\b")
URL = re.compile(r"https?://\S+")
SHOWN = 5
"""How many items a demo asks for."""

_STOP_TEXT = """
a about after all also am an and any are as ask at available be been by call can check close closing coming could
day days deadline deadlines did do does due each federal find for from funding get give good grant grants has have hello
help hey hi how i if in into is it its kind let like list look lookup me month months my need new next nofo now of
on one open opportunities opportunity or our out over please posted program programs search see show some soon such
tell thanks that the their them there these this through to today up us use using want we week weeks what when where
which who will with within would you your
"""
_STOP = frozenset(_STOP_TEXT.split())


def key_terms(text: str) -> str:
    """The words that say what is looked for, at most six, in their order."""
    words = re.findall(r"[A-Za-z][A-Za-z'-]*", URL.sub(" ", text))
    return " ".join([word for word in words if word.lower() not in _STOP][:6])


def arguments_for(parameters: Schema, text: str) -> dict[str, JsonValue]:
    """Arguments that fit ``parameters``, for the request ``text``."""
    properties, required = parameters.get("properties"), parameters.get("required")
    if not isinstance(properties, dict):
        return {}
    needed = set(required) if isinstance(required, list) else set()
    chosen: dict[str, JsonValue] = {}
    for name, described in properties.items():
        schema = _resolved(described, parameters)
        value = _spoken(name, schema, text)
        if value is None and name in needed:
            value = _filler(schema, text)
        if value is not None:
            chosen[name] = value
    return chosen


def _spoken(name: str, schema: Schema, text: str) -> JsonValue:
    """The value that the words give for this property, ``None`` when they say nothing about it."""
    kind = schema.get("type")
    if isinstance(choices := schema.get("enum"), list):
        return _named_choice(choices, text)
    if name in TERM_NAMES:
        return _as(kind, key_terms(text))
    if name in LIMIT_NAMES and kind == "integer":
        return _bounded(schema, SHOWN)
    if ID_NAMES.search(name) and (found := ID_WORD.findall(text)):
        return _as_ids(schema, found)
    if "days" in name and kind == "integer" and (days := DAYS.search(text)):
        return _bounded(schema, int(days[1]))
    if name in {"url", "uri"} and (url := URL.search(text)):
        return url[0]
    return None


def _named_choice(choices: list[JsonValue], text: str) -> JsonValue:
    """The choice that shares most words with the text, ``None`` where none does; ``codes`` counts as ``code``."""
    words = _stems(text)
    shared = {choice: len(words & _stems(choice)) for choice in choices if isinstance(choice, str)}
    best = max(shared, key=lambda choice: shared[choice], default=None)
    return best if best is not None and shared[best] else None


def _stems(text: str) -> set[str]:
    return {re.sub(r"(ies|y|s)$", "", word) for word in re.findall(r"[a-z]+", text.lower())}


def _as(kind: JsonValue, terms: str) -> JsonValue:
    if not terms:
        return None
    return [terms] if kind == "array" else terms if kind == "string" else None


def _as_ids(schema: Schema, found: list[str]) -> JsonValue:
    if schema.get("type") != "array":
        return int(found[0]) if schema.get("type") == "integer" else found[0]
    items = schema.get("items")
    whole = isinstance(items, dict) and items.get("type") == "integer"
    most = schema.get("maxItems")
    kept = found[: most if isinstance(most, int) else SHOWN]
    return [int(value) if whole else value for value in kept]


def _filler(schema: Schema, text: str) -> JsonValue:
    """Some value that the schema takes, for a required property that the words do not speak of."""
    if "default" in schema:
        return schema["default"]
    if isinstance(choices := schema.get("enum"), list) and choices:
        return choices[0]
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type")
    simple: dict[str, JsonValue] = {"boolean": False, "object": {}, "null": None, "string": key_terms(text) or "demo"}
    if kind in {"integer", "number"}:
        return _bounded(schema, 1)
    if kind == "array":
        items = schema.get("items")
        return [_filler(items, text)] if isinstance(items, dict) and schema.get("minItems") else []
    return simple.get(str(kind), key_terms(text) or "demo")


def _bounded(schema: Schema, value: int) -> int:
    low, high = schema.get("minimum"), schema.get("maximum")
    if isinstance(high, int | float):
        value = min(value, int(high))
    return max(value, int(low)) if isinstance(low, int | float) else value


def _resolved(described: JsonValue, root: Schema) -> Schema:
    """The property's schema with ``$ref`` followed and the first branch of an ``anyOf`` that is not null."""
    if not isinstance(described, dict):
        return {}
    reference = described.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        definitions = root.get("$defs")
        named = definitions.get(reference.removeprefix("#/$defs/")) if isinstance(definitions, dict) else None
        return _resolved(named, {**root, "$defs": {}})
    branches = described.get("anyOf")
    if isinstance(branches, list):
        for branch in branches:
            if isinstance(branch, dict) and branch.get("type") != "null":
                return _resolved(branch, root)
    return described
