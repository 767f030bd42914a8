"""The home and its secrets: made once, whole, private, and never where git could take them up."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from open_persona.errors import HomeRefused
from open_persona.home import home_folder, prepare_home
from open_persona.secrets import FILE, NAMES, load_secrets, make_secrets


@pytest.mark.requirement("secrets:made_once")
def test_they_are_made_at_the_first_start_and_kept(tmp_path: Path) -> None:
    assert load_secrets(tmp_path, {}) is None
    made = make_secrets(tmp_path, {})
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert make_secrets(tmp_path, {}) == made
    assert sorted(json.loads((tmp_path / FILE).read_text())) == sorted(NAMES)
    assert len({key.get_secret_value() for key in (made.sidecar_api_key, made.service_key, made.token_key)}) == 3
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.requirement("secrets:made_once")
def test_two_starts_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: make_secrets(tmp_path, {}), range(16)))
    assert len({one.token_key.get_secret_value() for one in made}) == 1


@pytest.mark.requirement("secrets:not_shown")
def test_they_are_not_in_their_repr(tmp_path: Path) -> None:
    made = make_secrets(tmp_path, {})
    assert made.token_key.get_secret_value() not in repr(made)


def test_the_environment_comes_first(tmp_path: Path) -> None:
    make_secrets(tmp_path, {})
    found = load_secrets(tmp_path, {"OPEN_PERSONA_SERVICE_KEY": "mine"})
    assert found is not None
    assert found.service_key.get_secret_value() == "mine"


def test_all_from_the_environment_needs_no_file(tmp_path: Path) -> None:
    make_secrets(tmp_path, {f"OPEN_PERSONA_{name.upper()}": "x" for name in NAMES})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["{", "[]", '{"service_key": "a"}'])
def test_a_broken_file_is_an_error_and_stays_as_it_is(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(HomeRefused, match=r"secrets\.json"):
        make_secrets(tmp_path, {})
    assert (tmp_path / FILE).read_text() == content


@pytest.mark.requirement("secrets:not_in_git")
@pytest.mark.parametrize("below", ["", "deep/er"])
def test_a_home_inside_a_git_work_tree_is_refused(tmp_path: Path, below: str) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    with pytest.raises(HomeRefused, match="OPEN_PERSONA_HOME"):
        prepare_home(tmp_path / below)
    assert [path.name for path in tmp_path.iterdir()] == [".git"]


def test_a_link_into_a_work_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tree" / ".git").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "tree")
    with pytest.raises(HomeRefused):
        prepare_home(tmp_path / "link" / "home")


def test_a_home_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    prepare_home(tmp_path / "home")
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_a_home_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeRefused, match="can't be made"):
        prepare_home(tmp_path / "file" / "home")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"OPEN_PERSONA_HOME": "/a/b", "XDG_DATA_HOME": "/c"}, "/a/b"),
        ({"XDG_DATA_HOME": "/c", "HOME": "/h"}, "/c/open-persona"),
        ({"HOME": "/h"}, "/h/.local/share/open-persona"),
    ],
)
def test_where_home_is(environment: dict[str, str], expected: str) -> None:
    assert home_folder(environment) == Path(expected)


def test_the_modules_name_does_not_hide_the_standard_librarys() -> None:
    code = "import open_persona.bootstrap, secrets; print(secrets.token_hex(2))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout.strip()
