"""What is made works as it is: rules, linter, types and its own tests, in a checkout of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from open_persona.scaffold.answers import Wishes, unasked
from open_persona.scaffold.command import new_integration, new_persona
from open_persona.settings import StackSettings
from open_persona.validate.examination import examine
from open_persona.validate.personas import PersonaFolder

ROOT = Path(__file__).resolve().parents[3]
NEEDED = (
    "mcp_servers/__init__.py",
    "mcp_servers/run.py",
    "mcp_servers/kit",
    "tests/__init__.py",
    "tests/fakes/__init__.py",
    "tests/fakes/asgi_server.py",
    "tests/mcp_servers/__init__.py",
    "tests/mcp_servers/mcp_session.py",
    "pyproject.toml",
)
QUIET = Console(quiet=True)
NAMES = ("a", "asgi", "kit2", "kits", "zz_top", "x" * 40)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the kit and the tests' own modules, and no integration."""
    for name in NEEDED:
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return tmp_path


def make(checkout: Path, name: str, wishes: Wishes = Wishes()) -> None:  # noqa: B008
    settings = StackSettings(home=checkout, mcp_servers_dir=checkout / "mcp_servers")
    new_integration(settings, name, wishes, unasked, QUIET)


def run(checkout: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=checkout,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.requirement("new:keeps-every-rule")
async def test_python_integrations_of_any_name_pass_everything_as_they_are(checkout: Path) -> None:
    odd = Wishes(title='A: "very" #odd title ☂', description="- It's {odd}: yes. # no", url="http://127.0.0.1:9/api/")
    for name in NAMES:
        make(checkout, name, odd if name == "kits" else Wishes())
    examined = await examine(checkout / "mcp_servers", PersonaFolder(), NAMES)
    assert [one for one in examined if one.problems or one.notes] == []
    made = ["mcp_servers", "tests"]
    run(checkout, sys.executable, "-m", "ruff", "check", *made)
    run(checkout, sys.executable, "-m", "ruff", "format", "--check", *made)
    told = run(checkout, sys.executable, "-m", "pytest", "tests/mcp_servers/kits", "tests/mcp_servers/a")
    assert "16 passed" in told


@pytest.mark.real
@pytest.mark.requirement("new:typed")
def test_made_code_is_typed(checkout: Path) -> None:
    make(checkout, "weather")
    arguments = ["--strict", "-p", "mcp_servers.weather", "-p", "tests.mcp_servers.weather", "-p", "tests.fakes"]
    told = run(checkout, sys.executable, "-m", "mypy", "--config-file=", *arguments)
    assert "no issues found" in told


@pytest.mark.requirement("new:keeps-every-rule")
@pytest.mark.parametrize(
    "wishes",
    [
        Wishes(kind="command", command="uvx 'mcp server' --at=now"),
        Wishes(kind="http", url="https://mcp.example.org/mcp?a=1"),
    ],
)
async def test_somebody_elses_server_is_a_manifest_and_a_page(checkout: Path, wishes: Wishes) -> None:
    make(checkout, "theirs", wishes)
    assert sorted(path.name for path in (checkout / "mcp_servers" / "theirs").iterdir()) == [
        "README.md",
        "manifest.yaml",
    ]
    (examined,) = await examine(checkout / "mcp_servers", PersonaFolder(), ["theirs"])
    assert [(one.rule, one.level) for one in examined.problems] == [("tools-are-stated", "warning")]


@pytest.mark.requirement("new:keeps-every-rule")
async def test_a_folder_outside_a_checkout_gets_no_tests_and_runs(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    settings = StackSettings(home=tmp_path, mcp_servers_dir=root)
    new_integration(settings, "weather", Wishes(), unasked, QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    (examined,) = await examine(root, PersonaFolder(), ["weather"])
    assert examined.problems == ()


@pytest.mark.requirement("new:keeps-every-rule")
async def test_a_persona_passes_as_it_is(checkout: Path) -> None:
    personas = checkout / "sidecar" / "personas"
    personas.mkdir(parents=True)
    environment = {"OPEN_PERSONA_PERSONAS_DIR": str(personas)}
    new_persona(environment, "budget-check", "", "", unasked, QUIET)
    new_persona(environment, "odd", 'The "odd": one', "# it's {odd}", unasked, QUIET)
    examined = await examine(checkout / "mcp_servers", PersonaFolder.of(environment), ["budget-check", "odd"])
    assert [one.problems for one in examined] == [(), ()]
    assert "name: Budget check\n" in (personas / "budget-check.md").read_text()
