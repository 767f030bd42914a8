"""The templates under ``templates/``, filled in."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).resolve().parent / "templates"


def rendered(template: str, **values: object) -> str:
    """The text of ``templates/<template>`` with ``values`` in it; one that the template lacks is an error."""
    return _environment().get_template(template).render(values)


def _environment() -> Environment:
    environment = Environment(  # noqa: S701 - makes source files, no HTML
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    environment.filters["yaml"] = as_yaml
    environment.filters["literal"] = as_literal
    environment.filters["in_order"] = in_order
    return environment


def as_yaml(value: object) -> str:
    """A value as YAML writes it in one line."""
    text = yaml.safe_dump(value, allow_unicode=True, width=10_000, default_flow_style=True)
    return text.removesuffix("\n").removesuffix("\n...")


def as_literal(value: str) -> str:
    """A text as Python writes it, in the quotes that the formatter keeps."""
    return json.dumps(value, ensure_ascii=False)


def in_order(imports: str) -> str:
    """Lines of imports in the order that the linter wants, whatever names are in them."""
    return "\n".join(sorted(imports.strip().splitlines())) + "\n"
