"""How settings may reach a stranger's server: each planted fault is named with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from hub.manifest_file import read_manifest
from hub.validate import judge
from mcp_servers.launcher import Spec, server_environment

SETTINGS_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
COMMAND = """manifest_version: 1
name: demo
title: Demo
description: A demo.
transport:
  type: command
  port: 7101
  command:
    - serve
    - --root={folder}
    - '{"json": {"stays": 1}}'
settings:
  - key: folder
    title: Folder
    example: .
  - key: token
    title: Token
    secret: true
    env: DEMO_TOKEN
"""
HTTP = """manifest_version: 1
name: demo
title: Demo
description: A demo.
transport:
  type: http
  url: https://mcp.example/mcp
  headers:
    Authorization: Bearer {token}
settings:
  - key: token
    title: Token
    secret: true
"""


def faults(tmp_path: Path, text: str) -> list[str]:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "manifest.yaml").write_text(text)
    return [str(fault) for fault in judge([read_manifest(folder)])["demo"]]


@pytest.mark.parametrize("text", [COMMAND, HTTP])
def test_a_good_one_has_no_fault(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, text) == []


KEYS = re.findall(r"^\| `(OPEN_PERSONA_[A-Z_]+_(?:KEY|TOKEN))`", SETTINGS_PAGE.read_text(), re.MULTILINE)


@pytest.mark.requirement("hub:transport-rules")
@pytest.mark.parametrize("variable", KEYS)
def test_no_setting_has_a_key_of_ours_as_its_value(tmp_path: Path, variable: str) -> None:
    name, _, key = variable.removeprefix("OPEN_PERSONA_").lower().partition("_")
    folder = tmp_path / name
    folder.mkdir()
    text = (
        HTTP.replace("name: demo", f"name: {name}")
        .replace("key: token", f"key: {key}")
        .replace("{token}", f"{{{key}}}")
    )
    (folder / "manifest.yaml").write_text(text)
    (fault,) = judge([read_manifest(folder)])[name]
    assert str(fault).startswith(f"{name}/manifest.yaml:11: settings.0.key: its value would be {variable}")
    spec = Spec(name, folder, 7123, (0, 0))
    assert variable not in server_environment(spec, {variable: "secret"}, "127.0.0.1")


def test_there_are_keys_of_ours() -> None:
    assert {"OPEN_PERSONA_SERVICE_KEY", "OPEN_PERSONA_TOKEN_KEY", "OPEN_PERSONA_SIDECAR_API_KEY"} <= set(KEYS)


def test_the_pages_manifests_have_no_fault(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "wrap-somebody-elses-server.md"
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        name = yaml.safe_load(block)["name"]
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.yaml").write_text(block)
    assert [*judge([read_manifest(folder) for folder in sorted(tmp_path.iterdir())]).values()] == [()] * 4


@pytest.mark.requirement("hub:transport-rules")
@pytest.mark.parametrize(
    ("text", "old", "new", "line", "words"),
    [
        (COMMAND, "{folder}", "{token}", 10, "'token' is a secret, and arguments show"),
        (COMMAND, "{folder}", "{other}", 10, "there is no setting 'other'"),
        (COMMAND, "- serve", "- '{folder}'", 9, "the program itself can't come from a setting"),
        (COMMAND, "DEMO_TOKEN", "DEMO-TOKEN", 19, "settings.1.env"),
        (COMMAND, "DEMO_TOKEN", "LD_PRELOAD", 19, "a setting can't be the variable LD_PRELOAD"),
        (COMMAND, "DEMO_TOKEN", "PATH", 19, "a setting can't be the variable PATH"),
        (COMMAND, "example: .", "env: DEMO_TOKEN", 19, "the variable of another setting"),
        (HTTP, "secret: true", "env: TOKEN", 13, "only a server of transport.type 'command'"),
        (HTTP, "{token}", "{other}", 9, "there is no setting 'other'"),
        (HTTP, "Authorization", "Content-Length", 9, "does not let a manifest set"),
        (HTTP, "Authorization", "X-Open-Persona-Setting-Token", 9, "does not let a manifest set"),
        (HTTP, "Authorization", "'Two Words'", 9, "no name of a header"),
        (HTTP, "Bearer {token}", '"a\\r\\nb"', 9, "printable ASCII in one line"),
        (HTTP, "Bearer {token}", "a\n    authorization: b", 10, "the header is there twice"),
    ],
)
def test_a_planted_fault_is_named(tmp_path: Path, text: str, old: str, new: str, line: int, words: str) -> None:
    found = faults(tmp_path, text.replace(old, new))
    assert any(one.startswith(f"demo/manifest.yaml:{line}: ") and words in one for one in found), found
