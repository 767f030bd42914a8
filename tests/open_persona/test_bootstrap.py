"""``.venv`` is made once, made again when its inputs change, and tidy about the machine's own package settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from open_persona import bootstrap
from open_persona.errors import FetchFailed, ToolMissing
from open_persona.prerequisites import GIT, NPM, Prerequisite, require


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "constraints.txt").write_text("a==1\n")
    (tmp_path / ".venv").mkdir()
    return tmp_path


def stamp(checkout: Path) -> None:
    (checkout / ".venv" / bootstrap.STAMP).write_text(bootstrap.fingerprint(checkout))


def test_without_a_stamp_it_is_not_current(checkout: Path) -> None:
    assert not bootstrap.is_current(checkout)


def test_with_the_stamp_nothing_is_done(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stamp(checkout)
    bootstrap.prepare(checkout)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_input_makes_it_stale(checkout: Path, name: str) -> None:
    stamp(checkout)
    (checkout / name).write_text("changed")
    assert not bootstrap.is_current(checkout)


@pytest.mark.requirement("setup:resumable")
def test_a_failed_step_names_the_log_and_the_next_run_begins_anew(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp(checkout)
    (checkout / "constraints.txt").write_text("changed")
    anew: list[bool] = []

    def broken_python(*_: object, **given: bool) -> Path:
        anew.append(given["anew"])
        return Path("/bin/false")

    monkeypatch.setattr(bootstrap, "_make_venv", broken_python)
    for _ in range(2):
        with pytest.raises(FetchFailed, match="full output"):
            bootstrap.prepare(checkout)
        assert not bootstrap.is_current(checkout)
    assert anew == [False, True]


def test_pip_noise_is_dropped_and_errors_are_kept() -> None:
    said = (
        "WARNING: Location 'file:///nowhere/simple/aiohttp/' is ignored: it is neither a file nor a directory.\n"
        "WARNING: Retrying after connection broken\n"
        "ERROR: No matching distribution found for aiohttp\n"
    )
    assert bootstrap.noise_free(said).splitlines() == [
        "WARNING: Retrying after connection broken",
        "ERROR: No matching distribution found for aiohttp",
    ]


@pytest.mark.requirement("setup:missing_tool")
def test_every_missing_program_is_named_at_once_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    venv = Prerequisite("python3-venv", "makes .venv", "python3-venv", lambda: False)
    with pytest.raises(ToolMissing) as caught:
        require([venv, GIT, NPM])
    message = str(caught.value)
    assert "npm is missing" in message
    assert "apt-get install python3-venv git npm" in message


def test_nothing_missing_is_no_error() -> None:
    require([Prerequisite("x", "y", "z", lambda: True)])
