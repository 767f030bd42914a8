from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from sidecar.runners.base import RunnerSpec
from sidecar.runners.directories import prepare, sweep_links, write_atomically


def spec(home: Path, key_sig: str = "k1") -> RunnerSpec:
    private = home / "runners" / "u" / key_sig
    return RunnerSpec(
        f"r-{key_sig}", "u", key_sig, home / "workspaces" / "u", private, "{}", SecretStr("t"), SecretStr("p")
    )


@pytest.mark.requirement("runner:data-survives-key")
def test_the_newest_key_set_takes_over_the_data_and_the_old_rest_goes(tmp_path: Path) -> None:
    old, new = spec(tmp_path, "k1"), spec(tmp_path, "k2")
    prepare(old)
    (old.data / "opencode" / "opencode.db").write_text("memory")
    prepare(new)
    assert (new.data / "opencode" / "opencode.db").read_text() == "memory"
    assert not old.private.exists()
    prepare(old)
    assert (old.data / "opencode" / "opencode.db").read_text() == "memory"
    assert not new.private.exists()


def test_preparing_twice_keeps_what_is_there(tmp_path: Path) -> None:
    prepare(spec(tmp_path))
    (spec(tmp_path).workspace / "notes.txt").write_text("mine")
    prepare(spec(tmp_path))
    assert (spec(tmp_path).workspace / "notes.txt").read_text() == "mine"
    assert spec(tmp_path).config_file.stat().st_mode & 0o077 == 0


@pytest.mark.requirement("runner:no-leftovers")
def test_the_library_of_the_last_start_goes(tmp_path: Path) -> None:
    prepare(spec(tmp_path))
    cache = spec(tmp_path).private / "cache"
    (cache / ".bcfbcfdebda5b7ef-00000000.so").write_bytes(b"x")
    (cache / "opencode" / "bin").mkdir()
    prepare(spec(tmp_path))
    assert [path.name for path in cache.iterdir()] == ["opencode"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    write_atomically(path, "old")

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.requirement("files:links-swept")
def test_only_links_that_leave_are_removed(tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    (workspace / "folder").mkdir(parents=True)
    (workspace / "file").write_text("x")
    (tmp_path / "outside").mkdir()
    targets = {
        "inside": workspace / "file",
        "folder/out": tmp_path / "outside",
        "dotted": Path("../outside"),
        "hop": workspace / "folder" / "out" / "deep",
        "nowhere": workspace / "missing",
    }
    for link, target in targets.items():
        (workspace / link).symlink_to(target)
    assert sorted(sweep_links(workspace)) == ["dotted", "folder/out", "hop"]
    assert (workspace / "inside").is_symlink()
    assert (workspace / "nowhere").is_symlink()
    assert sweep_links(workspace) == []


def test_a_workspace_too_large_to_check_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.runners.directories.MAX_ENTRIES", 2)
    for name in "abc":
        (tmp_path / name).touch()
    with pytest.raises(OSError, match="more than 2 files"):
        sweep_links(tmp_path)
