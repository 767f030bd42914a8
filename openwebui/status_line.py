"""The health of an integration as one line, and where that line stands in a tool's description.

The line is the last one and starts with a mark of its own; everything above it is the admin's.
"""

from __future__ import annotations

import re

from .catalog import Integration

MARK = "— Status: "
LONGEST = 400

REASONS = {
    "refused": "it refuses connections",
    "timeout": "it does not answer in time",
    "http_error": "it answers with an error",
    "auth": "it wants credentials for listing its tools",
    "not_found": "there is nothing at its address",
    "host_rejected": "it does not accept the host name",
    "bad_protocol": "it does not speak MCP as it should",
    "tools_mismatch": "its tools are not those of its manifest",
    "tools_changed": "its tools have changed",
    "invalid_manifest": "its manifest is not valid",
    "too_large": "its list of tools is too large",
    "name_unresolved": "its host name is not known",
    "address_refused": "its address is not allowed",
    "internal": "the check itself failed",
}
"""The hub's reasons, in words."""

GONE = f"{MARK}gone: this integration is no longer installed. It is hidden from users; their settings are kept."
UNKNOWN = f"{MARK}unknown: the hub does not answer, so nobody knows how it is."


def line_for(integration: Integration) -> str | None:
    """The line that tells how it is; None while it has not been checked yet."""
    if integration.disabled:
        return f"{MARK}disabled by the operator."
    if integration.health == "healthy":
        return f"{MARK}healthy"
    if integration.health == "starting":
        return None
    why = REASONS.get(integration.reason, integration.reason)
    said = f"{MARK}{integration.health}{f': {why}' if why else ''}. {integration.action}"
    return _one_line(said)


def with_line(description: str, line: str) -> str:
    """``description`` with ``line`` as its last; an earlier one is replaced, the rest is left as it is."""
    above = without_line(description)
    return f"{above}\n\n{line}" if above else line


def without_line(description: str) -> str:
    """What the admin sees as the description: without the marked lines and the blank ones before them."""
    return "\n".join(line for line in description.split("\n") if not line.startswith(MARK.rstrip())).rstrip()


def described(description: str, line: str | None) -> str:
    """``description`` with ``line`` last; with None a line that is there stays, unless it no longer holds."""
    if line is not None:
        return with_line(description, line)
    return without_line(description) if line_of(description) in {GONE, UNKNOWN} else description


def line_of(description: str) -> str | None:
    """The last marked line, if there is one."""
    marked = [line for line in description.split("\n") if line.startswith(MARK.rstrip())]
    return marked[-1] if marked else None


def _one_line(text: str) -> str:
    flat = re.sub(r"\s+", " ", text).strip()
    return flat if len(flat) <= LONGEST else f"{flat[: LONGEST - 1]}…"
