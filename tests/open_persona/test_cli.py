"""The command itself: documented whole, errors in one line, exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest
import typer.main
from typer.testing import CliRunner

from open_persona.cli import app
from open_persona.settings import PREFIX, StackSettings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "cli.md").read_text()


class Option(Protocol):
    """A parameter of a command, as typer registers it."""

    @property
    def opts(self) -> Sequence[str]: ...


class Command(Protocol):
    """A command, as typer registers it."""

    @property
    def help(self) -> str | None: ...

    @property
    def params(self) -> Sequence[Option]: ...


def commands() -> Iterator[tuple[str, Command]]:
    """(full name, command) of every command that does something."""

    def below(name: str, command: Command) -> Iterator[tuple[str, Command]]:
        children = getattr(command, "commands", None)
        if children is None:
            yield name, command
            return
        for child, inner in children.items():
            yield from below(f"{name} {child}", inner)

    yield from below("open-persona", typer.main.get_command(app))


def section(name: str) -> str:
    found = re.search(rf"^## `{re.escape(name)}`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/reference/cli.md has no section for {name}"
    return found[1]


@pytest.mark.requirement("cli:documented")
def test_every_command_has_a_section_with_exactly_its_options() -> None:
    for name, command in commands():
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"`(--?[a-z][a-z-]*)`", section(name).partition("| option |")[2])) == options - {
            "--help"
        }, name


@pytest.mark.requirement("cli:documented")
def test_no_section_speaks_of_a_command_that_is_not_there() -> None:
    assert set(re.findall(r"^## `(.+)`$", PAGE, re.MULTILINE)) == {name for name, _ in commands()}


def test_every_setting_of_the_stack_is_documented() -> None:
    assert [name for name in StackSettings.model_fields if f"`{PREFIX}{name.upper()}`" not in PAGE] == []


def test_every_command_has_a_help_text() -> None:
    for name, command in commands():
        assert command.help, name
        result = CliRunner().invoke(app, [*name.split()[1:], "--help"])
        assert result.exit_code == 0, name


@pytest.mark.requirement("cli:errors")
@pytest.mark.parametrize("command", [["status"], ["chat", "-m", "hi"], ["config", "show"]])
def test_with_nothing_running_the_error_is_one_line_that_says_what_to_do(command: list[str], tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "OPEN_PERSONA_HOME": str(tmp_path), "OPEN_PERSONA_HUB_PORT": "9"}
    done = subprocess.run(
        [sys.executable, "-m", "open_persona.cli", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"error: .*'open-persona up'.*\n", done.stderr)


def test_the_doctors_json_is_a_list_of_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPEN_PERSONA_HOME", str(tmp_path))
    monkeypatch.setenv("OPEN_PERSONA_HUB_PORT", "9")
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    assert {"check", "level", "message", "action"} == set(json.loads(result.stdout)[0])


def test_a_home_in_a_work_tree_stops_up_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("OPEN_PERSONA_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(app, ["up"])
    assert result.exit_code == 1
    assert "git work tree" in result.stderr
    assert not (tmp_path / "home").exists()
