"""What the user told earlier in the same request, so that a persona's memory can be shown. Pure; keeps nothing."""

from __future__ import annotations

import re

ASKED = re.compile(
    r"\b(?:what(?:'s| is| was| are) (?:my|our)|what did i (?:tell|say)|do you (?:remember|recall)|"
    r"where do (?:i|we)|who (?:am i|are we)|which .* (?:my|our))\b",
    re.IGNORECASE,
)
TOLD = re.compile(
    r"(?:\b(?:please )?remember(?: that|:)?\s+(?!what\b|when\b|me\b)(?P<fact>[^.!?\n]+))|"
    r"(?P<own>\b(?:my|our) [\w -]{1,40} (?:is|are) [^.!?\n]+)",
    re.IGNORECASE,
)
_PLAIN_TEXT = "what whats is was are my our did i tell say you do remember recall the a an of about to me we"
_PLAIN = frozenset(_PLAIN_TEXT.split())


def asks_back(question: str) -> bool:
    """Whether the user asks for something told before."""
    return ASKED.search(question) is not None


def facts(text: str) -> list[str]:
    """What the user asked to remember, or said of themselves, oldest first."""
    return [(found["fact"] or found["own"]).strip() for found in TOLD.finditer(text)]


def recalled(question: str, told: str) -> list[str]:
    """The facts in ``told`` that share a word with the question, the newest first; all of them when none does."""
    known = list(dict.fromkeys(facts(told)))[::-1]
    asked = _words(question)
    fitting = [fact for fact in known if asked & _words(fact)]
    return fitting or known


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower())) - _PLAIN
