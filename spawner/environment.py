"""The variables that a runner may have. None makes a program load code from where an agent can write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

_FOLDERS: Final = "/usr/local/sbin|/usr/local/bin|/usr/sbin|/usr/bin|/sbin|/bin"
_TEXT: Final = "[!-~]{0,256}"

VARIABLES: Final[Mapping[str, str]] = {
    **{f"XDG_{kind.upper()}_HOME": f"/opencode/{kind}" for kind in ("config", "state", "cache", "data")},
    "OPENCODE_DISABLE_[A-Z_]{1,40}": "1",
    "OPENCODE_PURE": "1",
    "HOME": "/home/runner",
    "TMPDIR": "/tmp",  # noqa: S108 - a mount of the container's own
    "LANG": r"[A-Za-z]{1,8}(?:_[A-Z]{2})?(?:\.UTF-8)?",
    "PATH": f"(?:{_FOLDERS})(?::(?:{_FOLDERS}))*",
    "OPENCODE_CONFIG": "/opencode/config/open-persona\\.json",
    "OPENCODE_SERVER_PASSWORD": _TEXT,
    "OPEN_PERSONA_RUNNER_TOKEN": _TEXT,
}
"""Pattern of the name → pattern of the value."""


def environment_fault(variables: Sequence[str]) -> Iterator[str]:
    """What is wrong with a container's ``Env``, without any value of it."""
    seen: set[str] = set()
    for variable in variables:
        name, equals, value = variable.partition("=")
        pattern = next((VARIABLES[known] for known in VARIABLES if re.fullmatch(known, name)), None)
        if not equals or pattern is None:
            yield "Env must hold NAME=value of " + ", ".join(VARIABLES) + " alone."
        elif name in seen:
            yield f"Env must hold {name} once."
        elif not re.fullmatch(pattern, value):
            yield f"Env: {name} must match {pattern}."
        seen.add(name)
