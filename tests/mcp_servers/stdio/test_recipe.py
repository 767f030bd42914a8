"""What the launcher refuses to start, whatever the hub thinks of the manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_servers.kit.integration import ManifestError
from mcp_servers.launcher import scan
from mcp_servers.stdio.recipe import read_recipe
from tests.mcp_servers.stdio.bridged import FOLDER, TOKEN, write_command


@pytest.mark.requirement("stdio:no-secret-in-arguments")
@pytest.mark.parametrize(
    ("argument", "words"),
    [("{token}", "'token' is a secret"), ("--key={token}", "'token' is a secret"), ("{nobody}", "no setting 'nobody'")],
)
def test_a_secret_in_an_argument_is_refused(tmp_path: Path, argument: str, words: str) -> None:
    folder = write_command(tmp_path, [FOLDER, TOKEN], argument)
    with pytest.raises(ManifestError, match=words):
        read_recipe(folder)
    assert words in scan(tmp_path).problems["strange"]


def test_a_folder_with_nothing_but_a_manifest_is_enough(tmp_path: Path) -> None:
    write_command(tmp_path, [FOLDER, TOKEN], "{folder}", port=7777)
    found = scan(tmp_path)
    assert (found.problems, found.specs["strange"].type, found.specs["strange"].port) == ({}, "command", 7777)
