"""Whose a runner's folders are, also where the agent has planted links in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sidecar.runners.directories import write_config
from sidecar.runners.docker_directories import prepare_for_container, runner_user
from tests.sidecar.runners.test_container_spec import HASH, SIG, spec_with


@pytest.mark.requirement("runner:folders")
def test_the_folders_are_the_runners_and_no_link_is_followed(tmp_path: Path) -> None:
    base = spec_with()
    private, workspace = tmp_path / "runners" / HASH / SIG, tmp_path / "workspaces" / HASH
    spec = type(base)(**{**vars(base), "private": private, "workspace": workspace})
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("not the agent's")
    before = (outside / "file").stat().st_uid, outside.stat().st_uid
    private.joinpath("data").mkdir(parents=True)
    (private / "data" / "opencode").symlink_to(outside)
    workspace.mkdir(parents=True)
    (workspace / "link").symlink_to(outside / "file")

    prepare_for_container(spec)
    write_config(spec)
    uid, gid = runner_user()
    assert uid != 0
    ours = (workspace, private / "data", private / "state", private / "config", private / "config" / "opencode")
    assert {(path.stat().st_uid, path.stat().st_gid) for path in (*ours, spec.config_file)} == {(uid, gid)}
    assert ((outside / "file").stat().st_uid, outside.stat().st_uid) == before
    assert spec.config_file.stat().st_mode & 0o077 == 0


def test_root_runs_none() -> None:
    uid, gid = runner_user()
    assert (uid, gid) == ((1000, 1000) if os.geteuid() == 0 else (os.geteuid(), os.getegid()))
