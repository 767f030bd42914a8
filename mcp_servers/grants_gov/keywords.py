"""From what a person types to a keyword that Grants.gov reads the same way.

Upstream the keyword is a Lucene-like query with traps that all answer 200 and a plausible count (observed 2026-09-24):
adjacent terms are ORed, a lower-case ``and`` is a term that matches nearly everything, a dangling operator widens to
nearly everything, and ``COVID-19`` is split at its hyphen. So the text is parsed here and written out again: every
adjacent pair is joined with AND, words with inner punctuation are quoted, mixed operators get parentheses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mcp_servers.kit.errors import InvalidArgument

MAX_LENGTH = 300
MAX_DEPTH = 8

_TOKEN = re.compile(r'"(?P<phrase>[^"]*)"|(?P<paren>[()])|(?P<word>[^\s()"]+)')
_SPECIAL = re.compile(r"[:~?\[\]{}^\\/!+|<>=]")
_EDGES = re.compile(r"^[^\w]+|[^\w*]+$")
_PLAIN = re.compile(r"^\w+\*?$")
_OPERATORS = ("AND", "OR", "NOT")


@dataclass(frozen=True)
class _Token:
    kind: str  # operator, paren or term
    text: str


def compile_keyword(raw: str) -> str:
    """The keyword to send for ``raw``: all terms required unless it says OR. Raises InvalidArgument."""
    if len(raw) > MAX_LENGTH:
        raise _bad(f"it is longer than {MAX_LENGTH} characters")
    if raw.count('"') % 2:
        raise _bad("it has a double quote without its partner")
    tokens = _tokens(raw)
    if not any(token.kind == "term" for token in tokens):
        raise _bad("it holds no searchable word")
    parser = _Parser(tokens)
    compiled = parser.either(depth=0)
    if not parser.done:
        raise _bad(f"it has an unexpected {parser.here.text!r}")
    return compiled.text


def _bad(problem: str) -> InvalidArgument:
    how = 'Use a few words, "quoted phrases", AND, OR, NOT, parentheses and a trailing *.'
    return InvalidArgument("keyword", problem, what_to_do=how)


def _tokens(raw: str) -> list[_Token]:
    spelled = raw.replace("&&", " AND ").replace("||", " OR ")
    found: list[_Token] = []
    for match in _TOKEN.finditer(spelled):
        if (paren := match["paren"]) is not None:
            found.append(_Token("paren", paren))
        elif (phrase := match["phrase"]) is not None:
            found += _phrase(phrase)
        else:
            found += _words(match["word"])
    return found


def _phrase(text: str) -> list[_Token]:
    clean = " ".join(_SPECIAL.sub(" ", text).replace("*", " ").split())
    return [_Token("term", f'"{clean}"')] if re.search(r"\w", clean) else []


def _words(text: str) -> list[_Token]:
    if text.upper() in ("AND", "OR") or text == "NOT":  # "not for profit" is a name, not a negation
        return [_Token("operator", text.upper())]
    negated = text.startswith("-") and re.match(r"^-\w", text) is not None
    tokens = [_Token("operator", "NOT")] if negated else []
    terms = [_term(part) for part in _SPECIAL.sub(" ", text).split()]
    kept = [_Token("term", term) for term in terms if term]
    return tokens + kept if kept else []


def _term(word: str) -> str:
    bare = _EDGES.sub("", word)
    if not re.search(r"\w", bare):
        return ""
    if _PLAIN.match(bare) and bare.upper() not in _OPERATORS:
        return bare
    return '"' + bare.replace("*", " ").strip() + '"'


@dataclass(frozen=True)
class _Part:
    text: str
    joined_by: str = ""  # the operator at its top, empty for a single term

    def inside(self, operator: str) -> str:
        return f"({self.text})" if self.joined_by and self.joined_by != operator else self.text


class _Parser:
    """OR binds loosest, then AND (written or implied), then NOT, then terms and parentheses."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def done(self) -> bool:
        return self._at >= len(self._tokens)

    @property
    def here(self) -> _Token:
        return _Token("end", "end of the keyword") if self.done else self._tokens[self._at]

    def either(self, depth: int) -> _Part:
        parts = [self._all(depth)]
        while self._take("operator", "OR"):
            parts.append(self._all(depth))
        return _join(parts, "OR")

    def _all(self, depth: int) -> _Part:
        parts = [self._one(depth)]
        while not self.done and self.here != _Token("operator", "OR") and self.here != _Token("paren", ")"):
            self._take("operator", "AND")
            parts.append(self._one(depth))
        return _join(parts, "AND")

    def _one(self, depth: int) -> _Part:
        negated = False
        while self._take("operator", "NOT"):
            negated = not negated
        part = self._operand(depth)
        return _Part(f"NOT {part.inside('NOT')}", "") if negated else part

    def _operand(self, depth: int) -> _Part:
        if self._take("paren", "("):
            if depth >= MAX_DEPTH:
                raise _bad("it nests parentheses too deeply")
            part = self.either(depth + 1)
            if not self._take("paren", ")"):
                raise _bad("it has a parenthesis without its partner")
            return part
        if self.here.kind != "term":
            raise _bad(f"it has an unexpected {self.here.text!r}")
        self._at += 1
        return _Part(self._tokens[self._at - 1].text)

    def _take(self, kind: str, text: str) -> bool:
        if self.here != _Token(kind, text):
            return False
        self._at += 1
        return True


def _join(parts: list[_Part], operator: str) -> _Part:
    if len(parts) == 1:
        return parts[0]
    return _Part(f" {operator} ".join(part.inside(operator) for part in parts), operator)
