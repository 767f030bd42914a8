"""A new persona template as a file, tried with the sidecar's own loader before it is written."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from open_persona.errors import BadArgument
from open_persona.scaffold.rendering import rendered
from open_persona.scaffold.writing import Files
from open_persona.validate.personas import PersonaFolder
from sidecar.templates import TemplateError, read_templates


def persona_files(persona: str, name: str, description: str, folder: PersonaFolder) -> Files:
    """The one file of a template. Raises ``BadArgument`` for what no template can hold, and for an id that is another
    one's alias."""
    text = rendered("persona.md.jinja", id=persona, name=name, description=description)
    _check(persona, text, folder)
    return {folder.directory / f"{persona}.md": text}


def _check(persona: str, text: str, folder: PersonaFolder) -> None:
    with TemporaryDirectory() as trial:
        file = Path(trial) / f"{persona}.md"
        file.write_text(text, encoding="utf-8")
        found = read_templates(Path(trial), memory_templates=folder.memory_templates, runner_mode=folder.runner_mode)[
            file
        ]
    if isinstance(found, TemplateError):
        raise BadArgument(f"{found.field}: {found.fault}")
    others = read_templates(
        folder.directory, memory_templates=folder.memory_templates, runner_mode=folder.runner_mode
    ).values()
    for other in others:
        if not isinstance(other, TemplateError) and persona in other.aliases:
            raise BadArgument(f"{persona!r} is another name of {other.id!r} already. Take another id.")
