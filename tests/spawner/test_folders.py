"""A runner's folders are looked at, step by step: Docker would follow a link to anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from spawner.container_body import sources
from spawner.errors import CallError, Malformed, Refused
from spawner.folders import identities
from tests.spawner.bodies import SIG, WORKSPACE, make_folders


def check(data: Path) -> None:
    identities(data, sources(data, WORKSPACE, SIG))


@pytest.mark.requirement("spawner:folders")
def test_folders_as_the_sidecar_makes_them_pass(tmp_path: Path) -> None:
    make_folders(tmp_path)
    check(tmp_path)


@pytest.mark.requirement("spawner:folders")
@pytest.mark.parametrize(
    "place",
    [
        "workspaces",
        f"workspaces/{WORKSPACE}",
        "runners",
        f"runners/{WORKSPACE}",
        f"runners/{WORKSPACE}/{SIG}",
        *(f"runners/{WORKSPACE}/{SIG}/{kind}" for kind in ("config", "state", "cache", "data")),
    ],
)
def test_a_link_anywhere_on_the_way_is_refused(place: str, tmp_path: Path) -> None:
    make_folders(tmp_path)
    (tmp_path / place).rename(tmp_path / "away")
    (tmp_path / place).symlink_to(tmp_path / "away")
    with pytest.raises(Refused):
        check(tmp_path)


@pytest.mark.requirement("spawner:folders")
def test_a_missing_folder_is_the_callers_mistake_and_a_file_is_none(tmp_path: Path) -> None:
    make_folders(tmp_path)
    (tmp_path / "workspaces" / WORKSPACE).rmdir()
    with pytest.raises(Malformed):
        check(tmp_path)
    (tmp_path / "workspaces" / WORKSPACE).write_text("")
    with pytest.raises(CallError):
        check(tmp_path)
