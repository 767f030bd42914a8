"""The rule that no secret lies in the folder. What it finds is never repeated: only what it looks like."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch

from hub.manifest import PLACEHOLDER, HttpTransport, Transport
from hub.manifest_file import MANIFEST
from open_persona.validate.problems import Found
from open_persona.validate.sources import text_of
from open_persona.validate.subject import Subject

MEND = "Take it out and have it replaced by its service: what lay in a file counts as known. A key is a setting."

KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")),
    ("a key of AWS", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a key of a model provider", re.compile(r"\bsk-[A-Za-z0-9_-]{20,}")),
    ("a token of GitHub", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})")),
    ("a token of GitLab", re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}")),
    ("a token of Slack", re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}")),
    ("a key of Google", re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b")),
    ("a live key of Stripe", re.compile(r"\b[rs]k_live_[0-9A-Za-z]{16,}")),
    ("a token of Hugging Face", re.compile(r"\bhf_[A-Za-z0-9]{30,}")),
    ("a token of npm", re.compile(r"\bnpm_[A-Za-z0-9]{36}\b")),
    ("a key of SendGrid", re.compile(r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}")),
    ("a signed token (JWT)", re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")),
    ("a password in an address", re.compile(r"\b[a-z][a-z0-9+]*://[^\s:/@{}<>$]+:(?P<value>[^\s:/@{}<>$]{8,})@")),
)

FILES = (".env", ".env.*", "*.pem", "*.p12", "*.pfx", "*.key", "id_rsa", "id_ed25519", ".netrc", ".pypirc")
EXAMPLES = ("*.example", "*.sample", "*.template")

_NAMED = re.compile(
    r"""(?ix) (?: [\w-]* (?: api[_-]?key | private[_-]?key | secret | token | passw(?:or)?d | credential | authorization
        | auth(?!or) ) [\w-]* | [?&]key )
        ["']? \s* (?: : \s* [A-Za-z_][\w.\[\]]* \s* )? [:=]{1,2} \s*
        (?P<quote>["']?) (?: (?: bearer | basic | token ) \s+ )? (?P<value>[A-Za-z0-9+/_.=-]{20,}) (?P=quote) """
)
_PLACEHOLDER = re.compile(
    r"(?i)example|sample|your|change|dummy|fake|placeholder|password|redacted|xxxx|0000|1234|\.\.\.|test"
)
_MUST_QUOTE = frozenset({".py", ".js", ".ts", ".mjs"})
"""In code a bare word is a name."""

_RUN = re.compile(r"[A-Za-z0-9+/_.=-]{16,}")

ENTROPY_BITS = 3.3
"""Bits a character: a key made by chance has 3.6 and more, words and numbers in a row less."""


def no_secret(subject: Subject) -> Iterator[Found]:
    """No key, token or password lies in the folder."""
    for path in subject.paths:
        if _is_secret_file(path.name):
            yield Found(subject.place(path), "a file that holds secrets by its name", MEND)
            continue
        text = text_of(path)
        for number, line in enumerate(text.splitlines() if text else (), 1):
            if (kind := _kind_of(line, quoted=path.suffix in _MUST_QUOTE)) is not None:
                yield Found(subject.place(path, number), f"what looks like {kind}", MEND)
    yield from _in_the_manifest(subject)


def _in_the_manifest(subject: Subject) -> Iterator[Found]:
    """Where a key is put by mistake, whatever its name: the value of a header, the example of a secret setting."""
    transport = subject.manifest.transport
    values = {("transport", "headers", name): value for name, value in _headers(transport).items()}
    for index, setting in enumerate(subject.manifest.settings):
        if setting.secret:
            values["settings", str(index), "example"] = setting.example
    lines = (text_of(subject.folder / MANIFEST) or "").splitlines()
    for path, value in values.items():
        place = subject.in_manifest(*path)
        told = place.line <= len(lines) and _kind_of(lines[place.line - 1], quoted=False)
        if not told and any(map(_is_random, _RUN.findall(PLACEHOLDER.sub(" ", value)))):
            yield Found(place, f"what looks like a key, as {'.'.join(path)}", MEND)


def _headers(transport: Transport) -> Mapping[str, str]:
    return transport.headers if isinstance(transport, HttpTransport) else {}


def _is_secret_file(name: str) -> bool:
    return any(fnmatch(name, one) for one in FILES) and not any(fnmatch(name, one) for one in EXAMPLES)


def _kind_of(line: str, *, quoted: bool) -> str | None:
    for kind, pattern in KINDS:
        if (found := pattern.search(line)) and not _PLACEHOLDER.search(found.groupdict().get("value") or found[0]):
            return kind
    for found in _NAMED.finditer(line):
        if (found["quote"] or not quoted) and _is_random(found["value"]):
            return "a secret by its name and its value"
    return None


def _is_random(value: str) -> bool:
    """Whether a text was made by chance rather than written."""
    if _PLACEHOLDER.search(value) or not (re.search(r"\d", value) and re.search(r"[A-Za-z]", value)):
        return False
    digits = sum(character.isdigit() for character in value) / len(value)
    mixed = value != value.lower() and value != value.upper()
    return _entropy(value) >= ENTROPY_BITS and (mixed or digits >= 0.15)


def _entropy(value: str) -> float:
    shares = [value.count(character) / len(value) for character in set(value)]
    return -sum(share * math.log2(share) for share in shares)
