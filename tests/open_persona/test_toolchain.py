"""opencode and ripgrep: found where they are, fetched whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from open_persona.errors import FetchFailed, ToolMissing
from open_persona.platforms import Machine, opencode_package, ripgrep_package
from open_persona.toolchain import OPENCODE, RIPGREP, Tool, ensure, find, installed_path, program_version

GOOD = "#!/bin/sh\necho {version}\n"
NPM = """#!/bin/sh
# stands in for npm: puts a program that prints $FAKE_VERSION where the package would have it
while [ "$1" != --prefix ]; do shift; done
prefix=$2
[ "$FAKE_NPM" = broken ] && { echo "npm error code ENOTFOUND" >&2; exit 1; }
for name in %s; do
  mkdir -p "$prefix/node_modules/$name/bin"
  [ "$FAKE_NPM" = empty ] ||
    printf '#!/bin/sh\\necho %%s\\n' "$FAKE_VERSION" > "$prefix/node_modules/$name/bin/opencode"
done
"""
PACKAGES = " ".join(
    opencode_package(Machine(system, architecture, avx2, musl))
    for system in ("linux", "darwin")
    for architecture in ("x64", "arm64")
    for avx2 in (True, False)
    for musl in (True, False)
)


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with a stand-in npm and the shell's own programs."""
    folder = tmp_path / "bin"
    program(folder / "npm", NPM % PACKAGES)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE_NPM", "good")
    monkeypatch.setenv("FAKE_VERSION", OPENCODE.version)
    return folder


@pytest.mark.parametrize(
    ("machine", "package"),
    [
        (Machine("linux", "x64"), "opencode-linux-x64"),
        (Machine("linux", "x64", avx2=False), "opencode-linux-x64-baseline"),
        (Machine("linux", "x64", avx2=False, musl=True), "opencode-linux-x64-baseline-musl"),
        (Machine("linux", "arm64", avx2=False, musl=True), "opencode-linux-arm64-musl"),
        (Machine("darwin", "arm64"), "opencode-darwin-arm64"),
    ],
)
def test_the_package_fits_the_machine(machine: Machine, package: str) -> None:
    assert opencode_package(machine) == package


def test_ripgreps_package() -> None:
    assert ripgrep_package(Machine("linux", "arm64", musl=True)) == "@vscode/ripgrep-linux-arm64"


@pytest.mark.requirement("setup:tools")
def test_it_fetches_once_with_progress(npm: Path, tmp_path: Path) -> None:
    folder, said = tmp_path / "tools", list[str]()
    path = ensure(OPENCODE, folder, os.environ, said.append)
    assert path == installed_path(OPENCODE, folder)
    assert program_version(path) == "1.18.33"
    assert [line.split()[0] for line in said] == ["Fetching", "Fetched"]
    said.clear()
    assert ensure(OPENCODE, folder, os.environ, said.append) == path
    assert said == []


@pytest.mark.parametrize(
    ("mode", "version", "words"),
    [
        ("broken", "1.18.33", "ENOTFOUND"),
        ("empty", "1.18.33", "holds no opencode"),
        ("good", "9.9.9", "says it is '9.9.9'"),
    ],
)
@pytest.mark.requirement("setup:resumable")
def test_a_bad_fetch_leaves_nothing_and_the_next_one_works(
    npm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, version: str, words: str
) -> None:
    folder = tmp_path / "tools"
    monkeypatch.setenv("FAKE_NPM", mode)
    monkeypatch.setenv("FAKE_VERSION", version)
    with pytest.raises(FetchFailed, match=words):
        ensure(OPENCODE, folder, os.environ, lambda _: None)
    assert [path.name for path in folder.iterdir()] == [".lock"]
    monkeypatch.setenv("FAKE_NPM", "good")
    monkeypatch.setenv("FAKE_VERSION", OPENCODE.version)
    assert ensure(OPENCODE, folder, os.environ, lambda _: None).exists()


def test_the_left_over_of_an_interrupted_fetch_is_removed(npm: Path, tmp_path: Path) -> None:
    left = tmp_path / "tools" / ".fetch-killed"
    left.mkdir(parents=True)
    ensure(OPENCODE, tmp_path / "tools", os.environ, lambda _: None)
    assert not left.exists()


@pytest.mark.requirement("setup:missing_tool")
def test_without_npm_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="apt-get install npm"):
        ensure(OPENCODE, tmp_path / "tools", os.environ, lambda _: None)


def test_opencode_on_path_counts_only_in_the_pinned_version(tmp_path: Path) -> None:
    bin_folder = tmp_path / "bin"
    environment = {"PATH": str(bin_folder)}
    program(bin_folder / "opencode", GOOD.format(version="1.0.0"))
    assert find(OPENCODE, tmp_path / "tools", environment) is None
    program(bin_folder / "opencode", GOOD.format(version=OPENCODE.version))
    assert find(OPENCODE, tmp_path / "tools", environment) == bin_folder / "opencode"


def test_any_ripgrep_on_path_is_taken(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "rg", GOOD.format(version="ripgrep 13.0.0"))
    assert find(RIPGREP, tmp_path / "tools", {"PATH": str(tmp_path / "bin")}) == tmp_path / "bin" / "rg"


@pytest.mark.parametrize("tool", [OPENCODE, RIPGREP])
def test_a_setting_that_names_nothing_is_an_error(tool: Tool, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match=tool.setting):
        find(tool, tmp_path, {tool.setting: str(tmp_path / "gone"), "PATH": ""})


@pytest.mark.real
@pytest.mark.requirement("setup:tools")
def test_the_checkouts_opencode_is_the_pinned_one(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    path = ensure(OPENCODE, root / ".tools", os.environ, lambda _: None)
    assert program_version(path) == OPENCODE.version


@pytest.mark.real
def test_ripgrep_really_comes_from_npm(tmp_path: Path) -> None:
    path = ensure(RIPGREP, tmp_path, {"PATH": ""}, lambda _: None)
    assert program_version(path).startswith("ripgrep ")
