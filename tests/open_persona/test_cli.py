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
        options = {option for parameter in command.params for option in parameter.opts if option.startswith("-")}
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
@pytest.mark.parametrize("command", [["status"], ["chat", "-m", "hi"], ["usage"], ["config", "show"]])
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


def told(tmp_path: Path, *command: str | bytes, **environment: str) -> str:
    """What the command says on standard error, which is one line; it exits with 1."""
    done = subprocess.run(
        [sys.executable, "-m", "open_persona.cli", *command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "OPEN_PERSONA_HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"error: .*\n", done.stderr)
    return done.stderr


@pytest.mark.requirement("cli:errors")
@pytest.mark.parametrize(
    ("option", "value"),
    [("--user", "jürgen"), ("--user", "a\nb"), ("--user", ""), ("--user", b"\xff"), ("--chat", "ü"), ("--chat", " a")],
)
def test_an_id_that_no_header_can_hold_is_named(tmp_path: Path, option: str, value: str | bytes) -> None:
    assert told(tmp_path, "chat", "-m", "hi", option, value).startswith(f"error: {option}: an id is")


def test_a_user_of_the_environment_that_no_header_can_hold_is_named(tmp_path: Path) -> None:
    assert "OPEN_PERSONA_USER: an id is" in told(tmp_path, "chat", "-m", "hi", OPEN_PERSONA_USER="jürgen")


@pytest.mark.requirement("cli:errors")
def test_bytes_that_are_no_text_reach_the_sidecar_as_text(tmp_path: Path) -> None:
    secrets = {f"OPEN_PERSONA_{name}": "k" for name in ("SIDECAR_API_KEY", "SERVICE_KEY", "TOKEN_KEY")}
    line = told(tmp_path, "chat", "-p", b"\xff", "-m", b"\xff", OPEN_PERSONA_SIDECAR_PORT="9", **secrets)
    assert "does not answer" in line


@pytest.mark.requirement("cli:errors")
def test_a_home_where_nothing_can_be_written_stops_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "can't be made" in told(tmp_path / "file", "up")
    assert "can't be written" in told(Path("/proc/self"), "up")


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
