"""Which tool the words of a request ask for. Pure: the first rule whose words and tool are both there wins.

Tools are known by the end of their name, since opencode puts ``<integration>_`` in front.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from open_persona.demo.conversation import Function


@dataclass(frozen=True)
class Rule:
    """Words of a request (a regular expression) and the tools for them, the best first."""

    words: re.Pattern[str]
    tools: tuple[str, ...]


def _rule(words: str, *tools: str) -> Rule:
    return Rule(re.compile(rf"\b(?:{words})\b", re.IGNORECASE), tools)


RULES = (
    _rule(r"connect\w*|credentials?|key works?", "check_connection"),
    _rule(r"codes?|categor\w+|eligibilit\w+", "list_codes"),
    _rule(r"\d{5,}", "get_opportunities", "get_grants"),
    _rule(r"deadlines?|due|closing|calendar", "list_deadlines", "search_opportunities"),
    _rule(r"projects?", "list_projects"),
    _rule(r"saved|bookmark\w*|pipeline", "list_saved_grants", "search_my_grants"),
    _rule(r"my grants?|our grants?|tracking", "search_my_grants", "list_saved_grants"),
    _rule(r"grants?|fund\w*|opportunit\w+|nofos?|health\w*|program\w*", "search_opportunities", "search_my_grants"),
    _rule(r"time|clock", "get_current_time"),
    _rule(r"https?://\S+", "fetch"),
)


def choose(question: str, offered: Sequence[Function]) -> Function | None:
    """The offered tool that the question asks for, or ``None``."""
    for rule in RULES:
        if rule.words.search(question) and (found := _first_offered(rule.tools, offered)) is not None:
            return found
    return _named_by(question, offered)


def _first_offered(names: tuple[str, ...], offered: Sequence[Function]) -> Function | None:
    for name in names:
        for function in offered:
            if function.name == name or function.name.endswith(f"_{name}"):
                return function
    return None


def _named_by(question: str, offered: Sequence[Function]) -> Function | None:
    """A tool that the question names, in full or by all the words of its name but the integration's."""
    words = set(re.findall(r"[a-z0-9]+", question.lower()))
    for function in offered:
        if re.search(rf"\b{re.escape(function.name)}\b", question):
            return function
        parts = function.name.lower().replace("-", "_").split("_")
        if len(parts) > 2 and set(parts[1:]) <= words:
            return function
    return None
