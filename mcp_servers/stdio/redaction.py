"""Settings out of what a program writes to its log: a stranger's program may print what it was given."""

from __future__ import annotations

import json
from collections.abc import Iterable
from urllib.parse import quote

from mcp_servers.stdio.recipe import ProgramSetting, Values

SHORTEST = 4
"""A value of fewer characters is replaced only where it is a secret: it would be found in every other word."""


class Redaction:
    """Replaces values of settings by ``[key]``: secrets, and what a user entered."""

    def __init__(self, settings: Iterable[ProgramSetting], values: Values) -> None:
        forms: dict[str, str] = {}
        for setting in settings:
            value = values.get(setting.key)
            if value is None or not (setting.secret or setting.scope == "user"):
                continue
            for form in _forms(value.get_secret_value()):
                if setting.secret or len(form) >= SHORTEST:
                    forms[form] = f"[{setting.key}]"
        # The longest first: one value may hold another.
        self._forms = sorted(forms.items(), key=lambda pair: -len(pair[0]))

    def __call__(self, text: str) -> str:
        for form, shown in self._forms:
            text = text.replace(form, shown)
        return text


def _forms(value: str) -> set[str]:
    """A value as a program may write it: as it is, line by line, as JSON, in a URL."""
    lines = {value, *value.splitlines()}
    return {form for line in lines if line.strip() for form in (line, json.dumps(line)[1:-1], quote(line, safe=""))}
