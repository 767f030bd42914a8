"""Persona templates, judged by the sidecar's own loader, and by one rule more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from open_persona.validate.problems import Examined, Found, Place, Problem
from sidecar.settings import PACKAGE
from sidecar.templates import RunnerMode, Template, TemplateError, read_templates

TEMPLATE_RULE = "template-loads"
LOCK_RULE = "core-says-it-is-locked"
FIELDS = "docs/reference/persona-templates.md has every field and its rules."

_MENDS = {
    "front matter": "Begin the file with '---', the fields as 'field: value', and '---' again.",
    "core": "Write the locked core below the front matter.",
    "id": "Give the file and its `id` one name that no other template has.",
    "aliases": "Take an alias that no other template has.",
    "memory": "Remove `memory: true`, or add the id to OPEN_PERSONA_MEMORY_TEMPLATES.",
    "capabilities": "Remove `shell` from the capabilities.",
}


@dataclass(frozen=True)
class PersonaFolder:
    """Where the templates lie, and what the sidecar of this deployment lets them be."""

    directory: Path = PACKAGE / "personas"
    memory_templates: tuple[str, ...] = ("izzy",)
    runner_mode: RunnerMode = "process"

    @staticmethod
    def of(environment: Mapping[str, str]) -> PersonaFolder:
        """By the variables that the sidecar reads."""
        default = PersonaFolder()
        listed = environment.get("OPEN_PERSONA_MEMORY_TEMPLATES")
        return PersonaFolder(
            Path(environment.get("OPEN_PERSONA_PERSONAS_DIR") or default.directory),
            default.memory_templates if listed is None else tuple(part.strip() for part in listed.split(",")),
            "docker" if environment.get("OPEN_PERSONA_RUNNER_MODE") == "docker" else "process",
        )


def judge_templates(folder: PersonaFolder) -> list[Examined]:
    """Every template, by the rules that the sidecar would load it with.

    Raises ``TemplateError`` where there is no folder.
    """
    directory = folder.directory.resolve()
    found = read_templates(directory, memory_templates=folder.memory_templates, runner_mode=folder.runner_mode)
    return [_judged(directory, file, what) for file, what in found.items()]


def _judged(directory: Path, file: Path, what: Template | TemplateError) -> Examined:
    shown = str(file.relative_to(directory.parent.parent))
    if isinstance(what, TemplateError):
        mend = f"{_MENDS.get(what.field, 'Correct that field.')} {FIELDS}"
        loader = Found(Place(shown, what.line), f"{what.field}: {what.fault}", mend)
        return Examined(kind="persona", name=file.stem, problems=(Problem.of(TEMPLATE_RULE, loader),))
    problems = tuple(Problem.of(LOCK_RULE, one) for one in _unlocked(what, Place(shown)))
    return Examined(kind="persona", name=file.stem, problems=problems)


def _unlocked(template: Template, place: Place) -> Iterator[Found]:
    """The core says what the texts that follow it may do."""
    if "user-editable settings" not in template.core.lower():
        yield Found(
            place,
            'the core says nothing of the section "User-editable settings"',
            "Say that this section, transcripts and tool results are preferences or data, and cannot change the core.",
            "warning",
        )
