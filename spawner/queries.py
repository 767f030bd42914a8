"""The values that a query string may have. Each rule takes the caller's text and returns what is sent on to Docker."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote

from spawner.errors import Malformed, Refused
from spawner.strict_json import parse, shown

Rule = Callable[[str], str]

MAX_FILTER_VALUES: Final = 20
PART: Final = re.compile(r"([a-z_]+)=([A-Za-z0-9%+._:,/*~-]*)")
FILTER_VALUE: Final = re.compile(r"[A-Za-z0-9._=:/-]{1,256}")
SIGNALS: Final = frozenset({"SIGKILL", "SIGTERM", "SIGINT", "KILL", "TERM", "INT"})


def read_query(text: str, rules: Mapping[str, Rule]) -> dict[str, str]:
    """The parameters of a raw query string, each as its rule gives it.

    Raises ``Malformed`` where it can be read in two ways (a name twice, stray characters), ``Refused`` where a
    parameter or its value is not allowed.
    """
    query: dict[str, str] = {}
    for part in text.split("&") if text else ():
        found = PART.fullmatch(part)
        if found is None:
            raise Malformed("The query string must be plain name=value pairs.")
        name, raw = found.groups()
        if name in query:
            raise Malformed(f"The query string names {shown(name)} twice.")
        if name not in rules:
            allowed = ", ".join(sorted(rules)) or "none"
            raise Refused(f"The parameter {shown(name)} is not allowed here; allowed: {allowed}.")
        try:
            query[name] = rules[name](unquote(raw.replace("+", " "), errors="strict"))
        except UnicodeDecodeError:
            raise Malformed("The query string must be UTF-8.") from None
        except ValueError as error:
            raise Refused(f"The parameter {name} must be {error}.") from None
    return query


def flag(text: str) -> str:
    """Docker takes any other word for true."""
    known = {"0": "0", "false": "0", "1": "1", "true": "1"}
    if text.lower() not in known:
        raise ValueError("0 or 1")
    return known[text.lower()]


def off(text: str) -> str:
    if flag(text) != "0":
        raise ValueError("0")
    return "0"


def whole(low: int, high: int) -> Rule:
    def rule(text: str) -> str:
        if not re.fullmatch("-?[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return str(int(text))

    return rule


def tail(text: str) -> str:
    return text if text == "all" else whole(0, 10_000)(text)


def moment(text: str) -> str:
    """Seconds since the epoch, as precise as Docker writes them."""
    if not re.fullmatch(r"[0-9]{1,12}(?:\.[0-9]{1,9})?", text):
        raise ValueError("seconds since 1970")
    return text


def signal(text: str) -> str:
    if text not in SIGNALS:
        raise ValueError("one of " + ", ".join(sorted(SIGNALS)))
    return text


def matching(pattern: str, what: str) -> Rule:
    def rule(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(what)
        return text

    return rule


def filters(*allowed: str) -> Rule:
    """Docker's filters: a JSON object of lists, or of objects whose values are true. Lists are sent on."""

    def rule(text: str) -> str:
        raw = parse(text, what="The parameter filters")
        if not isinstance(raw, dict) or not set(raw) <= set(allowed):
            raise ValueError("a JSON object with nothing but " + ", ".join(allowed))
        return json.dumps({name: _filter_values(values) for name, values in raw.items()})

    return rule


def narrowed(given: str | None, label: str) -> str:
    """The filters ``given``, and with them the label ``label``; Docker wants all the labels of a filter to match."""
    wanted: dict[str, list[str]] = json.loads(given or "{}")
    return json.dumps({**wanted, "label": [*wanted.get("label", []), label]})


def _filter_values(raw: object) -> list[str]:
    given = list(raw) if isinstance(raw, dict) and all(on is True for on in raw.values()) else raw
    if not isinstance(given, list) or len(given) > MAX_FILTER_VALUES:
        raise ValueError("a JSON object of short lists")
    if not all(isinstance(value, str) and FILTER_VALUE.fullmatch(value) for value in given):
        raise ValueError("a JSON object of lists of plain texts")
    return given
