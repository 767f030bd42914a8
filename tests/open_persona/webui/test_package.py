"""Our package in another environment: the same as ours after every start, and never half of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from open_persona.errors import FetchFailed
from open_persona.webui.package import HOOK, put_in


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    folder = tmp_path / "openwebui"
    (folder / "tools").mkdir(parents=True)
    (folder / "__pycache__").mkdir()
    for name in ("__init__.py", "gone_later.py", "tools/words.txt", "__pycache__/start.pyc", "Dockerfile"):
        (folder / name).write_text("")
    (folder / "start.py").write_text("print('loaded')\n")
    return folder


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    return folder


def names(packages: Path) -> list[str]:
    return sorted(str(path.relative_to(packages)) for path in packages.rglob("*") if path.is_file())


WHOLE = [
    "open_persona.pth",
    "openwebui/__init__.py",
    "openwebui/gone_later.py",
    "openwebui/start.py",
    "openwebui/tools/words.txt",
]


@pytest.mark.requirement("webui:package")
def test_it_is_copied_once_with_the_hook_that_loads_it(ours: Path, packages: Path) -> None:
    assert put_in(ours, packages)
    assert names(packages) == WHOLE
    assert not put_in(ours, packages)
    code = f"import site; site.addsitedir({str(packages)!r})"
    command = [sys.executable, "-I", "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "loaded\n"


@pytest.mark.requirement("webui:package")
def test_a_removed_module_goes_and_a_changed_one_comes(ours: Path, packages: Path) -> None:
    put_in(ours, packages)
    (ours / "gone_later.py").unlink()
    (ours / "start.py").write_text("NEW = 1\n")
    (packages / HOOK).write_text("import other\n")
    assert put_in(ours, packages)
    assert names(packages) == [name for name in WHOLE if "gone_later" not in name]
    assert (packages / "openwebui" / "start.py").read_text() == "NEW = 1\n"
    assert (packages / HOOK).read_text() == "import openwebui.start\n"


@pytest.mark.requirement("webui:package")
def test_an_interrupted_copy_is_no_part_of_the_package(
    ours: Path, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in(ours, packages)
    (ours / "start.py").write_text("NEW = 1\n")

    def half(source: Path, target: Path, **_: object) -> None:
        target.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copytree", half)
    with pytest.raises(KeyboardInterrupt):
        put_in(ours, packages)
    monkeypatch.undo()
    assert names(packages) == WHOLE
    (packages / ".open-persona-killed").mkdir()
    assert put_in(ours, packages)
    assert not list(packages.glob(".open-persona-*"))


def test_a_source_without_its_start_is_refused(ours: Path, packages: Path) -> None:
    (ours / "start.py").unlink()
    with pytest.raises(FetchFailed, match="not whole"):
        put_in(ours, packages)
    assert names(packages) == []
