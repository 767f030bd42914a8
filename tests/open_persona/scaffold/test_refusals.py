"""What is refused, and that then nothing was written; what is asked."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from open_persona.errors import BadArgument
from open_persona.ports import free_ports
from open_persona.scaffold import writing
from open_persona.scaffold.answers import Wishes, answered, unasked
from open_persona.scaffold.command import new_integration, new_persona
from open_persona.scaffold.names import next_port
from open_persona.settings import StackSettings

ROOT = Path(__file__).resolve().parents[3]
QUIET = Console(quiet=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """``mcp_servers`` with the module ``launcher.py``, the folder ``kit`` and the integration ``sam``."""
    folder = tmp_path / "mcp_servers"
    (folder / "kit").mkdir(parents=True)
    (folder / "launcher.py").write_text("")
    make(folder, "sam")
    return folder


def make(root: Path, name: str, wishes: Wishes = Wishes()) -> None:  # noqa: B008
    new_integration(StackSettings(home=root, mcp_servers_dir=root), name, wishes, unasked, QUIET)


def all_files(root: Path) -> set[str]:
    return {str(path) for path in root.parent.rglob("*")}


@pytest.mark.requirement("new:bad-names")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Grants.gov", r"lower case letters, digits and '_'.*such as 'grants_gov'"),
        ("9lives", "such as 'lives'"),
        ("", "such as 'grants'"),
        ("../up", "such as 'up'"),
        ("x" * 41, "40 characters at the most"),
        ("class", "a word of Python"),
        ("match", "a word of Python"),
        ("sam", "sam is there already, and nothing was written"),
        ("kit", "kit is there already"),
        ("launcher", r"launcher\.py is there already"),
        ("sam_ple", "'sam' and 'sam_ple' clash"),
    ],
)
def test_a_name_that_no_integration_can_have(root: Path, name: str, why: str) -> None:
    before = all_files(root)
    with pytest.raises(BadArgument, match=why):
        make(root, name)
    assert all_files(root) == before


@pytest.mark.requirement("new:bad-names")
@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        (Wishes(kind="perl"), "--kind: 'perl' is none of python, command, http"),
        (Wishes(kind="http"), "--url is needed"),
        (Wishes(kind="http", url="mcp.example"), "--url: "),
        (Wishes(url='https://x/"'), "--url: "),
        (Wishes(kind="command"), "--command is needed"),
        (Wishes(kind="command", command="uvx 'open"), "--command: No closing quotation"),
        (Wishes(title="x" * 81), "--title: "),
        (Wishes(description="x" * 401), "--description: "),
        (Wishes(port=80), "--port: "),
    ],
)
def test_an_answer_that_a_manifest_can_not_hold(root: Path, wishes: Wishes, why: str) -> None:
    before = all_files(root)
    with pytest.raises(BadArgument, match=why):
        make(root, "weather", wishes)
    assert all_files(root) == before


def test_a_port_that_another_manifest_has(root: Path) -> None:
    (port,) = free_ports(1)
    make(root, "first", Wishes(port=port))
    with pytest.raises(BadArgument, match=f"{port} is taken by 'first'"):
        make(root, "second", Wishes(port=port))


def test_ports_are_given_in_order() -> None:
    assert next_port([]) >= 7001


@pytest.mark.requirement("new:overwrites-nothing")
def test_tests_that_are_there_are_not_overwritten(root: Path) -> None:
    fake = root.parent / "tests" / "fakes" / "weather.py"
    fake.parent.mkdir(parents=True)
    (root.parent / "tests" / "mcp_servers").mkdir()
    fake.write_text("mine")
    with pytest.raises(BadArgument, match=r"weather\.py is there already"):
        make(root, "weather")
    assert fake.read_text() == "mine"
    assert not (root / "weather").exists()


@pytest.mark.requirement("new:overwrites-nothing")
def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file where a folder should be")
    files = {tmp_path / "new" / "deep" / "one.txt": "1", tmp_path / "blocked" / "two.txt": "2"}
    with pytest.raises(OSError, match="blocked"):
        writing.write_all(files)
    assert [path.name for path in tmp_path.iterdir()] == ["blocked"]


@pytest.mark.requirement("new:bad-names")
@pytest.mark.parametrize(
    ("persona", "description", "why"),
    [
        ("Budget Check", "", "such as 'budget-check'"),
        ("build", "", "the name of a bare model"),
        ("grant-draft", "", "is there already"),
        ("no-nonsense-grant-draft", "", "another name of 'grant-draft'"),
        ("fine", "{env:HOME}", "would be replaced by the agent engine"),
        ("fine", "two\nlines", "description: "),
    ],
)
def test_a_persona_that_can_not_be(tmp_path: Path, persona: str, description: str, why: str) -> None:
    (tmp_path / "grant-draft.md").write_text((ROOT / "sidecar" / "personas" / "grant-draft.md").read_text())
    with pytest.raises(BadArgument, match=why):
        new_persona({"OPEN_PERSONA_PERSONAS_DIR": str(tmp_path)}, persona, "", description, unasked, QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["grant-draft.md"]


def test_a_folder_of_personas_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="OPEN_PERSONA_PERSONAS_DIR"):
        new_persona({"OPEN_PERSONA_PERSONAS_DIR": str(tmp_path / "no")}, "fine", "", "", unasked, QUIET)


@pytest.mark.requirement("new:asks")
def test_only_what_no_option_says_is_asked() -> None:
    asked: list[str] = []

    def ask(question: str, default: str) -> str:
        asked.append(question)
        return {"Title, for people": "Weather"}.get(question, default)

    answers = answered("weather", Wishes(kind="python", port=7050), ask, lambda: 7001)
    assert asked == ["Title, for people", "What it is for, in one sentence", "Address of the service's API"]
    assert (answers.title, answers.port, answers.description) == ("Weather", 7050, "Looks things up in Weather.")
    with pytest.raises(BadArgument, match="--port: 'x' is no port"):
        answered("weather", Wishes(), lambda question, default: "x" if question == "Port" else default, lambda: 1)


@pytest.mark.requirement("new:asks")
@pytest.mark.parametrize("terminal", [True, False])
def test_the_command_asks_on_a_terminal_alone(root: Path, *, terminal: bool) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "open_persona.cli", "new", "integration", "weather", "--kind", "http"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "OPEN_PERSONA_MCP_SERVERS_DIR": str(root)},
        stdin=theirs if terminal else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(ours, b"The weather\n\nhttps://mcp.example.org/mcp\n")
    try:
        said, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        os.close(ours)
        os.close(theirs)
    if terminal:
        assert process.returncode == 0, errors
        assert "wrote mcp_servers/weather/manifest.yaml" in said
        assert "title: The weather\n" in (root / "weather" / "manifest.yaml").read_text()
    else:
        assert process.returncode == 1
        assert errors == "error: --url is needed for an integration of the kind 'http'.\n"
        assert not (root / "weather").exists()
