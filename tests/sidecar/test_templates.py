from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.errors import SidecarError
from sidecar.settings import PACKAGE
from sidecar.templates import FrontMatter, RunnerMode, TemplateError, Templates, load_templates

GOOD = "---\nid: helper\nname: Helper\ndescription: Helps.\n---\nYou help.\n"


def load(directory: Path, *, mode: RunnerMode = "process") -> Templates:
    return load_templates(directory, memory_templates=("izzy",), runner_mode=mode)


def write(directory: Path, name: str, text: str | bytes) -> None:
    (directory / name).write_bytes(text.encode() if isinstance(text, str) else text)


@pytest.mark.requirement("sidecar:shipped-templates")
def test_the_shipped_templates() -> None:
    templates = load(PACKAGE / "personas")
    assert templates.ids == ("grant-draft", "izzy")
    izzy, draft = templates.get("izzy"), templates.get("no-nonsense-grant-draft")
    assert izzy is not None
    assert draft is not None
    assert (izzy.memory, izzy.capabilities, izzy.self_reference) == (True, frozenset({"files"}), True)
    assert (draft.id, draft.memory, draft.capabilities, draft.self_reference) == (
        "grant-draft",
        False,
        frozenset(),
        False,
    )
    for template in templates:
        assert len(template.core.split()) < 450
        assert "User-editable settings" in template.core
        assert "locked core" in template.core


@pytest.mark.requirement("sidecar:template-files")
@pytest.mark.parametrize(
    "core",
    [
        b"You help.\n",
        b"\n\n  You help.",
        "Zażółć 💚\r\nsecond\r\n\r\n".encode(),
        b"a\n---\nb\n",
        b"one\rtwo\x0cthree\x00",
    ],
)
def test_the_core_is_kept_byte_for_byte(tmp_path: Path, core: bytes) -> None:
    write(tmp_path, "helper.md", b"---\nid: helper\nname: Helper\ndescription: Helps.\n---\n" + core)
    template = load(tmp_path).get("helper")
    assert template is not None
    assert template.core.encode() == core


def test_a_file_with_windows_line_ends_is_read(tmp_path: Path) -> None:
    write(tmp_path, "helper.md", GOOD.replace("\n", "\r\n"))
    assert [(each.id, each.core) for each in load(tmp_path)] == [("helper", "You help.\r\n")]


@pytest.mark.requirement("sidecar:template-files")
def test_one_new_file_is_all_that_a_template_takes(tmp_path: Path) -> None:
    write(
        tmp_path,
        "helper.md",
        GOOD.replace("name:", "aliases: [aide]\ncapabilities: [files]\nmodel: openai/gpt-5.1\nname:"),
    )
    write(tmp_path, ".#helper.md", "an editor's leftover")
    write(tmp_path, "notes.txt", "not a template")
    templates = load(tmp_path)
    helper = templates.get("aide")
    assert helper is not None
    assert (helper.model, helper.capabilities) == ("openai/gpt-5.1", frozenset({"files"}))
    assert (len(templates), templates.get("nobody"), templates.get("")) == (1, None, None)


def test_no_templates_is_a_deployment_too(tmp_path: Path) -> None:
    assert load(tmp_path).ids == ()


@pytest.mark.requirement("sidecar:template-errors-name-the-line")
@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ("You help.", 1, "front matter"),
        ("---\nid: helper\n", 1, "front matter"),
        ("---\n---\nYou help.", 1, "front matter"),
        ("---\n- id\n---\nYou help.", 1, "front matter"),
        ("---\nid: helper\nname: [\n---\nYou help.", 4, "front matter"),
        ("\ufeff" + GOOD, 1, "front matter"),
        (GOOD.encode("utf-16"), 1, "file"),
        (GOOD + "x" * 70_000, 1, "file"),
        (GOOD.replace("id: helper", "id: other"), 2, "id"),
        (GOOD.replace("id: helper", "id: Helper"), 2, "id"),
        (GOOD.replace("id: helper", "id: 7"), 2, "id"),
        (GOOD.replace("name: Helper", "name: ''"), 3, "name"),
        (GOOD.replace("name: Helper\n", ""), 1, "name"),
        (GOOD.replace("Helps.", "Helps.\nid: helper"), 5, "id"),
        (GOOD.replace("Helps.", "Helps.\ncolour: red"), 5, "colour"),
        (GOOD.replace("Helps.", "Helps.\nmemory: true"), 5, "memory"),
        (GOOD.replace("Helps.", "Helps.\nmemory: 'no'"), 5, "memory"),
        (GOOD.replace("Helps.", "Helps.\ncapabilities: [web]"), 5, "capabilities"),
        (GOOD.replace("Helps.", "Helps.\ncapabilities: files"), 5, "capabilities"),
        (GOOD.replace("Helps.", "Helps.\ncapabilities: [files, shell]"), 5, "capabilities"),
        (GOOD.replace("Helps.", "Helps.\naliases: [A b]"), 5, "aliases"),
        (GOOD.replace("Helps.", "Helps.\naliases: [helper]"), 5, "aliases"),
        (GOOD.replace("Helps.", "Helps.\naliases: [plan]"), 5, "aliases"),
        (GOOD.replace("Helps.", "Helps.\nmodel: gpt-5"), 5, "model"),
        (GOOD.replace("You help.", "  "), 6, "core"),
        (GOOD.replace("You help.", "You\nhelp {file:/etc/passwd}."), 7, "core"),
        (GOOD.replace("You help.", "{env:OPEN_PERSONA_RUNNER_TOKEN}"), 6, "core"),
    ],
)
def test_a_bad_file_is_named_with_line_and_field(tmp_path: Path, text: str | bytes, line: int, field: str) -> None:
    write(tmp_path, "helper.md", text)
    with pytest.raises(TemplateError) as caught:
        load(tmp_path)
    assert (caught.value.file, caught.value.line, caught.value.field) == (tmp_path / "helper.md", line, field)
    assert caught.value.message.startswith(f"{tmp_path / 'helper.md'}:{line}: {field}: ")
    assert isinstance(caught.value, SidecarError)


@pytest.mark.requirement("sidecar:memory-only-by-template")
def test_memory_is_for_the_listed_templates_alone(tmp_path: Path) -> None:
    write(tmp_path, "helper.md", GOOD.replace("Helps.", "Helps.\nmemory: true"))
    with pytest.raises(TemplateError, match="OPEN_PERSONA_MEMORY_TEMPLATES"):
        load(tmp_path)
    listed = load_templates(tmp_path, memory_templates={"helper"}, runner_mode="process").get("helper")
    assert listed is not None
    assert listed.memory


def test_the_shell_needs_containers(tmp_path: Path) -> None:
    write(tmp_path, "helper.md", GOOD.replace("Helps.", "Helps.\ncapabilities: [shell]"))
    with pytest.raises(TemplateError, match="OPEN_PERSONA_RUNNER_MODE=docker"):
        load(tmp_path)
    assert load(tmp_path, mode="docker").ids == ("helper",)


@pytest.mark.parametrize("other", ["aliases: [helper]", "aliases: [aide]"])
def test_a_name_belongs_to_one_template(tmp_path: Path, other: str) -> None:
    write(tmp_path, "helper.md", GOOD.replace("Helps.", "Helps.\naliases: [aide]"))
    write(tmp_path, "second.md", GOOD.replace("id: helper", "id: second").replace("Helps.", f"Helps.\n{other}"))
    with pytest.raises(TemplateError, match=r"already used in helper\.md") as caught:
        load(tmp_path)
    assert (caught.value.file.name, caught.value.line, caught.value.field) == ("second.md", 5, "aliases")


@pytest.mark.parametrize("name", ["build", "plan"])
def test_the_bare_models_names_are_taken(tmp_path: Path, name: str) -> None:
    write(tmp_path, f"{name}.md", GOOD.replace("id: helper", f"id: {name}"))
    with pytest.raises(TemplateError, match="bare model"):
        load(tmp_path)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="OPEN_PERSONA_PERSONAS_DIR"):
        load(tmp_path / "nowhere")


def test_the_reference_lists_every_field_and_template() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "persona-templates.md").read_text()
    names = {*FrontMatter.model_fields, *load(PACKAGE / "personas").ids}
    assert {name for name in names if f"| `{name}` |" not in page} == set()
