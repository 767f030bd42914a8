"""The Python source of a tool that has settings and nothing else.

Open WebUI keeps tools as source, and shows a form for the pydantic models ``UserValves`` (each user's own) and
``Valves`` (the admin's) of its class ``Tools``. Titles and descriptions come from manifests that anybody may have
written, so they enter the source only as literals made by :func:`literal`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FIRST_LINES = '"""\ntitle: Open Persona settings\nauthor: Open Persona\nversion: 1\n'
"""How each source begins; the seeder knows its own tools by it."""

MANIFEST = {"title": "Open Persona settings", "author": "Open Persona", "version": "1"}
"""What Open WebUI reads from those lines. There are no ``requirements``: those would be installed."""

Owner = Literal["UserValves", "Valves"]

_HEADER = f'''{FIRST_LINES}
Written by Open Persona at every start: changes to this code are lost. Name, description and access are yours.
"""

from pydantic import BaseModel, ConfigDict, Field

Text = str


class Tools:
'''
_NO_FIELDS = "    pass\n"
# Open WebUI rewrites these words anywhere in a source, also in a literal.
_REWRITTEN = re.compile(r"from (?=utils|apps|main|config)")


@dataclass(frozen=True)
class SettingField:
    """One field of a form: its name in the model, its label, the text below it, and whether it is masked."""

    name: str
    title: str
    description: str = ""
    secret: bool = False


def tool_source(owner: Owner, fields: Sequence[SettingField]) -> str:
    """The source of a tool with these fields, all of them text and empty at first.

    ``name`` of each is a Python identifier in lower case that pydantic takes (``field_names`` sees to it). Without
    fields there is no form.
    """
    if not fields:
        return _HEADER + _NO_FIELDS
    body = "".join(f"        {_declaration(field)}\n" for field in fields)
    return (
        f"{_HEADER}    class {owner}(BaseModel):\n        model_config = ConfigDict(protected_namespaces=())\n\n{body}"
    )


def literal(text: str) -> str:
    """A Python literal of ``text`` in plain ASCII that Open WebUI leaves as it is."""
    return _REWRITTEN.sub(r"from\\x20", ascii(text))


def _declaration(field: SettingField) -> str:
    # ``Text`` and not ``str``: a field may be called ``str``, and would hide it from the fields below.
    said = [f"default={literal('')}", f"title={literal(field.title)}"]
    said += [f"description={literal(field.description)}"] if field.description else []
    said += ['json_schema_extra={"input": {"type": "password"}}'] if field.secret else []
    return f"{field.name}: Text = Field({', '.join(said)})"
