"""Making text of a stranger's server safe to show, log and store."""

from __future__ import annotations


def clean(text: str, limit: int) -> str:
    """``text`` in one line, at most ``limit`` characters, with every unprintable character as ``�``.

    Unprintable includes control characters, line separators, bidi overrides and lone surrogates,
    so the result can always be encoded as UTF-8 and can't fake a line of a log.
    """
    line = " ".join(text[: 4 * limit].split())
    shown = "".join(char if char.isprintable() else "�" for char in line)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
