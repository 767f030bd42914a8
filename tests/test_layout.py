"""What every tracked file keeps to: size, telling names, nothing of one machine, and the folders of the design."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 400
VAGUE = re.compile(r"(?:^|_)(?:utils?|helpers?|common|managers?|misc)(?:_|$)")
MACHINE_PATH = re.compile(rf"(?<![\w.])/(?:Users|work)/\w|{re.escape(str(ROOT))}/")
REGISTRY = re.compile(
    "|".join(("pypi" + r"\.org", "pythonhosted" + r"\.org", "registry" + r"\.npmjs", "npmjs" + r"\.(?:org|com)"))
)
FOLDERS = (
    "hub",
    "mcp_servers",
    "mcp_servers/kit",
    "open_persona",
    "open_persona/demo",
    "sidecar",
    "sidecar/runners",
    "spawner",
)
FRONT_DOOR = ("Makefile", "pyproject.toml", "constraints.txt", ".ci/run")
BINARY = {".png", ".ico", ".woff2", ".gif"}


@cache
def tracked() -> tuple[Path, ...]:
    """Files of the project: in git, or new and not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout
    return tuple(ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file())


def texts() -> list[tuple[str, str]]:
    """(name, text) of every tracked text file but this one, which has to spell what it looks for."""
    files = [path for path in tracked() if path.suffix not in BINARY and path != Path(__file__).resolve()]
    return [(str(path.relative_to(ROOT)), path.read_text(errors="replace")) for path in files]


@pytest.mark.requirement("layout:sizes")
def test_no_python_file_is_longer_than_the_limit() -> None:
    counted = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in tracked() if path.suffix == ".py"
    }
    assert {name: lines for name, lines in counted.items() if lines > LONGEST} == {}


@pytest.mark.requirement("layout:names")
def test_no_module_or_folder_has_a_name_that_says_nothing() -> None:
    parts = {part.removesuffix(".py") for path in tracked() for part in path.relative_to(ROOT).parts}
    assert sorted(part for part in parts if VAGUE.search(part)) == []


@pytest.mark.requirement("layout:no_machine_paths")
def test_no_file_names_a_path_of_one_machine() -> None:
    assert [f"{name}: {found[0]}" for name, text in texts() if (found := MACHINE_PATH.search(text))] == []


@pytest.mark.requirement("layout:no_registry_hosts")
def test_no_file_names_a_package_registry() -> None:
    assert [f"{name}: {found[0]}" for name, text in texts() if (found := REGISTRY.search(text))] == []


@pytest.mark.requirement("layout:pins")
@pytest.mark.parametrize("name", ["constraints.txt", "open_persona/webui/constraints.txt"])
def test_constraints_are_plain_pins(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==[0-9][\w.+!]*", line)] == []


@pytest.mark.requirement("layout:folders")
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_package_of_the_design_is_there(folder: str) -> None:
    assert (ROOT / folder / "__init__.py").is_file()


@pytest.mark.parametrize("name", FRONT_DOOR)
def test_the_front_door_is_there(name: str) -> None:
    assert (ROOT / name).is_file()


@pytest.mark.requirement("layout:integrations")
def test_every_integration_folder_is_whole() -> None:
    folders = sorted(path.parent for path in (ROOT / "mcp_servers").glob("*/manifest.yaml"))
    missing = [
        f"{folder.name}/{name}" for folder in folders for name in ("README.md",) if not (folder / name).is_file()
    ]
    assert folders
    assert missing == []


@pytest.mark.parametrize(
    ("name", "vague"), [("utils", True), ("string_helpers", True), ("lease_manager", True), ("commonmark", False)]
)
def test_what_counts_as_vague(name: str, *, vague: bool) -> None:
    assert bool(VAGUE.search(name)) is vague
