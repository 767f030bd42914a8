"""Persona templates: one Markdown file each, YAML front matter and then the locked core.

``docs/reference/persona-templates.md`` describes the file. A file that breaks a rule stops the sidecar at start with
a :class:`TemplateError`: a locked core that is half understood is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidecar.settings import SettingsError

Capability = Literal["files", "shell"]
"""What an agent may do in the user's workspace, beside its integrations."""

RunnerMode = Literal["process", "docker"]

RESERVED: Final = frozenset({"build", "plan"})
"""The bare models' names: ``open-persona/<template>`` must not mean one of them."""

MAX_FILE_BYTES: Final = 64 * 1024
_ID = r"^[a-z][a-z0-9-]{0,63}$"
_FRONT_MATTER = re.compile(r"---\r?\n(?P<yaml>.*?)^---[ \t]*\r?(?:\n|\Z)", re.DOTALL | re.MULTILINE)
# opencode replaces these in any string of its config, so a core that holds one would not arrive as written.
_SUBSTITUTED = re.compile(r"\{(?:env|file):")


class TemplateError(SettingsError):
    """A template file breaks a rule; the message names the file, the line and the field."""

    def __init__(self, file: Path, line: int, field: str, fault: str) -> None:
        super().__init__(f"{file}:{line}: {field}: {fault}")
        self.file = file
        self.line = line
        self.field = field
        self.fault = fault


Name = Annotated[str, Field(pattern=_ID)]
Line = Annotated[str, Field(min_length=1, max_length=400, pattern=r"^\S[^\r\n]*$")]


class FrontMatter(BaseModel):
    """The fields of a template file, before its core."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Name
    name: Line
    description: Line
    aliases: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    memory: bool = False
    capabilities: Annotated[frozenset[Capability], Field(strict=False)] = frozenset()
    model: Annotated[str, Field(pattern=r"^$|^[a-z]+/\S+$")] = ""
    self_reference: bool = False


class Template(FrontMatter):
    """One persona template. ``core`` is the file after the front matter, byte for byte."""

    core: str


class Templates:
    """All templates of this deployment, sorted by id; immutable."""

    def __init__(self, templates: Iterable[Template] = ()) -> None:
        self._by_id = {template.id: template for template in sorted(templates, key=lambda each: each.id)}
        self._by_alias = {alias: template for template in self._by_id.values() for alias in template.aliases}

    def get(self, id_or_alias: str) -> Template | None:
        """The template of that id or alias."""
        return self._by_id.get(id_or_alias) or self._by_alias.get(id_or_alias)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._by_id)

    def __iter__(self) -> Iterator[Template]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)


def load_templates(directory: Path, *, memory_templates: Collection[str], runner_mode: RunnerMode) -> Templates:
    """Every ``<id>.md`` of ``directory``; hidden files are left alone.

    Raises ``TemplateError`` for the first file, in order of name, that breaks a rule.
    """
    templates: list[Template] = []
    for found in read_templates(directory, memory_templates=memory_templates, runner_mode=runner_mode).values():
        if isinstance(found, TemplateError):
            raise found
        templates.append(found)
    return Templates(templates)


def read_templates(
    directory: Path, *, memory_templates: Collection[str], runner_mode: RunnerMode
) -> Mapping[Path, Template | TemplateError]:
    """Each ``<id>.md`` of ``directory``, in order of name, with its template or the first rule that it breaks.

    Of two files that claim one id or alias the later is at fault. Raises ``TemplateError`` where there is no directory.
    """
    if not directory.is_dir():
        raise TemplateError(directory, 1, "directory", "there is no such directory. Set OPEN_PERSONA_PERSONAS_DIR.")
    owners: dict[str, Path] = {}
    found: dict[Path, Template | TemplateError] = {}
    for file in sorted(path for path in directory.glob("*.md") if not path.name.startswith(".")):
        try:
            source = _Source.read(file)
            template = source.template()
            _check_deployment(source, template, memory_templates, runner_mode)
            _check_unique(source, template, owners)
        except TemplateError as error:
            found[file] = error
        else:
            found[file] = template
    return found


class _Source:
    """One file, split; knows on which line each field stands."""

    def __init__(self, file: Path, front: str, core: str) -> None:
        self.file = file
        self._core = core
        self._core_line = front.count("\n") + 3
        self._fields, self._lines = self._parse(front)

    @classmethod
    def read(cls, file: Path) -> _Source:
        """The file split into front matter and core, as its bytes stand: no newline is translated."""
        try:
            data = file.read_bytes()
            text = data.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TemplateError(file, 1, "file", f"cannot be read as UTF-8: {type(error).__name__}.") from None
        if len(data) > MAX_FILE_BYTES:
            raise TemplateError(file, 1, "file", f"is larger than {MAX_FILE_BYTES} bytes.")
        match = _FRONT_MATTER.match(text)
        if match is None:
            raise TemplateError(file, 1, "front matter", "the file starts with front matter between two lines '---'.")
        return cls(file, match["yaml"], text[match.end() :])

    def fault(self, field: str, fault: str) -> TemplateError:
        return TemplateError(self.file, self._lines.get(field, 1), field, fault)

    def template(self) -> Template:
        """The validated template."""
        try:
            front = FrontMatter.model_validate(self._fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise self.fault(str(first["loc"][0]), f"{first['msg']}.") from None
        self._check_core()
        if front.id != self.file.stem:
            raise self.fault("id", f"must be the file's name, {self.file.stem!r}.")
        return Template(**front.model_dump(), core=self._core)

    def _parse(self, front: str) -> tuple[Mapping[str, object], Mapping[str, int]]:
        try:
            root = yaml.compose(front, Loader=yaml.SafeLoader)
            fields: object = yaml.safe_load(front)
        except yaml.YAMLError as error:
            mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
            line = mark.line + 2 if mark else 1
            raise TemplateError(self.file, line, "front matter", "is not valid YAML.") from None
        if not isinstance(root, yaml.MappingNode) or not isinstance(fields, dict):
            raise TemplateError(self.file, 1, "front matter", "must be a list of 'field: value' lines.")
        lines: dict[str, int] = {}
        for key, _ in root.value:
            name, line = str(key.value), key.start_mark.line + 2
            if name in lines:
                raise TemplateError(self.file, line, name, f"is already set on line {lines[name]}.")
            lines[name] = line
        return {str(name): value for name, value in fields.items()}, lines

    def _check_core(self) -> None:
        if not self._core.strip():
            raise TemplateError(self.file, self._core_line, "core", "there is no text after the front matter.")
        if found := _SUBSTITUTED.search(self._core):
            line = self._core_line + self._core.count("\n", 0, found.start())
            raise TemplateError(self.file, line, "core", f"{found[0]!r} would be replaced by the agent engine.")


def _check_deployment(
    source: _Source, template: Template, memory_templates: Collection[str], runner_mode: RunnerMode
) -> None:
    if template.memory and template.id not in memory_templates:
        raise source.fault("memory", "only a template named in OPEN_PERSONA_MEMORY_TEMPLATES may have memory.")
    if "shell" in template.capabilities and runner_mode == "process":
        raise source.fault("capabilities", "'shell' needs OPEN_PERSONA_RUNNER_MODE=docker: 'process' has no sandbox.")


def _check_unique(source: _Source, template: Template, owners: dict[str, Path]) -> None:
    for field, name in (("id", template.id), *(("aliases", alias) for alias in template.aliases)):
        if name in RESERVED:
            raise source.fault(field, f"{name!r} is the name of a bare model.")
        if name in owners:
            raise source.fault(field, f"{name!r} is already used in {owners[name].name}.")
        owners[name] = source.file
