"""The folder's reader: what counts as a change, when, and what a look costs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import hub.folder
from hub.folder import Folder
from hub.manifest_file import ManifestFile, read_manifest
from tests.hub.conftest import WriteManifest
from tests.hub.test_catalog import text


def shown(folder: Folder) -> dict[str, str]:
    """Each integration's title, or that it is at fault."""
    return {one.folder: one.manifest.title if one.manifest else "at fault" for one in folder.look()}


def rewrite(folder: Path, content: str) -> None:
    (folder / "manifest.yaml").write_text(content, "utf-8")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders whose manifest was read."""
    read: list[str] = []

    def recorded(folder: Path) -> ManifestFile:
        read.append(folder.name)
        return read_manifest(folder)

    monkeypatch.setattr(hub.folder, "read_manifest", recorded)
    return read


@pytest.mark.requirement("hub:rescan-cost")
def test_only_what_changed_is_read(servers_dir: Path, write_manifest: WriteManifest, reads: list[str]) -> None:
    for number in range(3):
        write_manifest(f"alpha{number}", text(f"alpha{number}", 7101 + number))
    write_manifest("broken", "name: [")
    folder = Folder(servers_dir)
    first = folder.look()
    assert sorted(reads) == ["alpha0", "alpha1", "alpha2", "broken"]
    assert all(one is other for one, other in zip(first, folder.look(), strict=True))
    rewrite(servers_dir / "alpha1", text("alpha1", 7150))
    folder.look()
    second = folder.look()
    folder.look()
    assert reads[4:] == ["alpha1"]
    assert [one is other for one, other in zip(first, second, strict=True)] == [True, False, True, True]


@pytest.mark.requirement("hub:half-written")
def test_a_new_folder_counts_once_it_stays_as_it_is(servers_dir: Path) -> None:
    folder = Folder(servers_dir)
    assert shown(folder) == {}
    new = servers_dir / "alpha"
    new.mkdir()
    assert shown(folder) == {}
    whole = text("alpha", 7101)
    for end in (0, 20, 60, len(whole)):
        rewrite(new, whole[:end])
        assert shown(folder) == {}
    assert shown(folder) == {"alpha": "alpha"}


@pytest.mark.requirement("hub:half-written")
def test_an_edit_counts_once_it_stays_as_it_is(servers_dir: Path, write_manifest: WriteManifest) -> None:
    alpha = write_manifest("alpha", text("alpha", 7101))
    folder = Folder(servers_dir)
    assert shown(folder) == {"alpha": "alpha"}
    rewrite(alpha, "")
    assert shown(folder) == {"alpha": "alpha"}
    rewrite(alpha, text("alpha", 7101).replace("title: alpha", "title: Other"))
    assert shown(folder) == {"alpha": "alpha"}
    assert shown(folder) == {"alpha": "Other"}


def test_a_moment_without_the_file_is_no_removal(servers_dir: Path, write_manifest: WriteManifest) -> None:
    alpha = write_manifest("alpha", text("alpha", 7101))
    folder = Folder(servers_dir)
    folder.look()
    (alpha / "manifest.yaml").rename(alpha / "manifest.yaml~")
    assert shown(folder) == {"alpha": "alpha"}
    (alpha / "manifest.yaml~").rename(alpha / "manifest.yaml")
    assert shown(folder) == {"alpha": "alpha"}
    (alpha / "manifest.yaml").unlink()
    assert shown(folder) == {"alpha": "alpha"}
    assert shown(folder) == {}


def test_an_invalid_one_counts_after_one_more_look_too(servers_dir: Path, write_manifest: WriteManifest) -> None:
    folder = Folder(servers_dir)
    folder.look()
    write_manifest("alpha", "name: [")
    assert shown(folder) == {}
    assert shown(folder) == {"alpha": "at fault"}


def test_a_change_of_the_same_size_and_time_is_seen(servers_dir: Path, write_manifest: WriteManifest) -> None:
    alpha = write_manifest("alpha", text("alpha", 7101))
    folder = Folder(servers_dir)
    folder.look()
    before = (alpha / "manifest.yaml").stat()
    partial = alpha / "partial"
    partial.write_text(text("alpha", 7102), "utf-8")
    os.utime(partial, ns=(before.st_atime_ns, before.st_mtime_ns))
    partial.rename(alpha / "manifest.yaml")
    folder.look()
    (file,) = folder.look()
    assert (file.manifest and file.manifest.transport.model_dump()) == {"type": "python", "port": 7102}


def test_a_change_while_it_is_read_waits_for_the_next_look(
    servers_dir: Path, write_manifest: WriteManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(servers_dir)
    folder.look()
    alpha = write_manifest("alpha", text("alpha", 7101))
    folder.look()
    interrupted = [True]

    def read(path: Path) -> ManifestFile:
        if interrupted:
            interrupted.clear()
            rewrite(alpha, "")
            seen = read_manifest(path)
            rewrite(alpha, text("alpha", 7102))
            return seen
        return read_manifest(path)

    monkeypatch.setattr(hub.folder, "read_manifest", read)
    assert [shown(folder) for _ in range(3)] == [{}, {}, {"alpha": "alpha"}]


def test_one_that_could_not_be_read_is_read_again(
    servers_dir: Path, write_manifest: WriteManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest("alpha", text("alpha", 7101))
    failing = [True]

    def flaky(self: Path, *args: object, **kwargs: object) -> bool:
        if failing:
            raise OSError(5, "Input/output error")
        return True

    monkeypatch.setattr(Path, "is_file", flaky)
    folder = Folder(servers_dir)
    assert str(folder.look()[0].faults[0]) == "alpha/manifest.yaml:1: the file can't be read: Input/output error"
    failing.clear()
    assert shown(folder) == {"alpha": "alpha"}


def test_a_link_to_another_manifest_is_followed(servers_dir: Path, write_manifest: WriteManifest) -> None:
    alpha = write_manifest("alpha", text("alpha", 7101))
    (alpha / "manifest.yaml").rename(alpha / "one")
    (alpha / "manifest.yaml").symlink_to("one")
    folder = Folder(servers_dir)
    assert shown(folder) == {"alpha": "alpha"}
    (alpha / "one").rename(alpha / "two")
    assert [shown(folder) for _ in range(2)] == [{"alpha": "alpha"}, {"alpha": "at fault"}]
    (alpha / "two").rename(alpha / "one")
    assert [shown(folder) for _ in range(2)] == [{"alpha": "at fault"}, {"alpha": "alpha"}]


def test_a_name_that_is_no_text_can_be_shown(servers_dir: Path) -> None:
    folder = os.fsencode(servers_dir) + b"/a\xffb"
    os.mkdir(folder)  # noqa: PTH102 - a Path takes no bytes
    Path(os.fsdecode(folder) + "/manifest.yaml").write_text(text("alpha", 7101))
    (file,) = Folder(servers_dir).look()
    assert file.folder == "a�b"


def test_a_folder_that_can_not_be_read_is_an_error_and_forgets_nothing(
    servers_dir: Path, write_manifest: WriteManifest, reads: list[str]
) -> None:
    write_manifest("alpha", text("alpha", 7101))
    folder = Folder(servers_dir)
    folder.look()
    servers_dir.rename(servers_dir.with_name("away"))
    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            folder.look()
    servers_dir.with_name("away").rename(servers_dir)
    assert shown(folder) == {"alpha": "alpha"}
    assert reads == ["alpha"]
