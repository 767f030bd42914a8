"""One manifest as read from its file: the model, and the faults with their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.manifest_file import read_manifest

GOOD = """manifest_version: 1
name: demo
title: Demo
description: A demo.
transport:
  type: python
  port: 7101
settings:
  - key: api_key
    title: API key
    secret: true
tools:
  list_things: read
  drop_thing: destructive
"""


def faults(tmp_path: Path, text: str | bytes) -> list[str]:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "manifest.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return [str(fault) for fault in read_manifest(folder).faults]


def test_a_good_manifest_has_no_faults(tmp_path: Path) -> None:
    assert faults(tmp_path, GOOD) == []


@pytest.mark.requirement("hub:manifest-faults")
@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("port: 7101", "port: 80", 7, "transport.port"),
        ("port: 7101", "prt: 7101", 7, "transport.prt: this key is not known"),
        ("type: python", "type: carrier_pigeon", 5, "transport"),
        ("secret: true", "secret: maybe", 11, "settings.0.secret"),
        ("key: api_key", "key: API-Key", 9, "settings.0.key"),
        ("list_things: read", "list_things: reed", 13, "tools.list_things"),
        ("title: Demo", "colour: blue", 3, "colour: this key is not known"),
        ("title: Demo\n", "", 1, "title: this key is missing"),
        ("title: Demo", "title: [", 5, "not valid YAML"),
        ("title: Demo", "title: Demo\ntitle: Again", 4, "the key is there twice (first in line 3)"),
        ("type: python\n  port: 7101", "type: http\n  url: https://me:pw@x.test/mcp", 7, "make it a setting"),
        ("title: Demo", "title: &t Demo\ndocumentation: *t", 4, "aliases"),
        ("manifest_version: 1", "manifest_version: 2", 1, "manifest_version"),
        (GOOD, "- a\n- b\n", 1, "a mapping"),
        (GOOD, "", 1, "a mapping"),
        (GOOD, "[" * 60_000, 1, "nested deeper"),
        (GOOD, "a: " + "x" * 70_000, 1, "larger than"),
    ],
)
def test_a_planted_fault_is_named_with_its_line(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    found = faults(tmp_path, GOOD.replace(old, new))
    assert any(one.startswith(f"demo/manifest.yaml:{line}: ") and words in one for one in found), found


def test_every_fault_is_listed(tmp_path: Path) -> None:
    text = GOOD.replace("port: 7101", "port: 80").replace("title: Demo", "colour: blue")
    assert len(faults(tmp_path, text)) == 3


def test_text_that_is_not_utf8_is_a_fault_at_its_line(tmp_path: Path) -> None:
    assert faults(tmp_path, b"manifest_version: 1\nname: \xff\n") == [
        "demo/manifest.yaml:2: the file is not UTF-8 text"
    ]


def test_a_folder_in_place_of_the_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "demo" / "manifest.yaml").mkdir(parents=True)
    assert [fault.reason for fault in read_manifest(tmp_path / "demo").faults] == ["not a regular file"]
